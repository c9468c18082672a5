"""``kvcalc models --format json``."""

from typing import TypedDict


class ModelRow(TypedDict):
    """A shipped model; bytes are its cache's in bf16.

    Fields:
        next_token_bytes: what a token costs at 8k.
        bytes_per_token: beyond every window.
        fixed_bytes_per_sequence: full windows and states.
        hub_id: empty where it has none. published_parameters: elements of its files; null where that
            is not known. config_read: whether its own config was, or only what lists say of it.
        context: the tokens that it was made for. modality: text, with +vision, +audio.
        released: the month in which it came out.
    """

    name: str
    family: str
    parameters: int
    active_parameters: int
    attention: str
    bytes_per_token: int
    fixed_bytes_per_sequence: int
    hub_id: str
    published_parameters: int | None
    config_read: bool
    next_token_bytes: int
    context: int | None
    modality: str
    released: str | None


class Models(TypedDict):
    """The shipped models."""

    models: list[ModelRow]
