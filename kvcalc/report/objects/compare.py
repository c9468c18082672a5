"""``kvcalc compare --format json``."""

from typing import TypedDict


class Row(TypedDict):
    """One point of the grid.

    Fields:
        cache_ratio_to_first: to six decimals; null where the first keeps nothing.
    """

    model: str
    attention: str
    kv_dtype: str
    context_tokens: int
    encoder_tokens: int
    batch_size: int
    parameters: int
    weight_bytes: int
    cache_bytes: int
    bytes_per_token: int
    total_bytes: int
    cache_ratio_to_first: float | None
    next_token_bytes: int


class Compare(TypedDict):
    """Models side by side. ratio_to: what the ratios are to."""

    ratio_to: str
    rows: list[Row]
    assumptions: list[str]
