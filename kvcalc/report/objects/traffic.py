"""``kvcalc estimate --lengths`` and ``kvcalc traffic``, ``--format json``."""

from typing import Annotated, TypedDict

from kvcalc.memory.traffic import Percentile, Prefix


class Named(TypedDict):
    """Which model it is."""

    name: str
    spec: str


class Traffic(TypedDict):
    """What requests of many lengths hold.

    Fields:
        requests: how many.
        held_by: logical, or the engine.
        block_tokens: of --block-size, else null.
        available_bytes: the memory that was given for the cache, else null.
        logical_bytes: the need of all requests at once.
        bytes: as they are held.
        rounding_bytes: the difference.
    """

    model: Named
    requests: Annotated[int, "num_requests"]
    tokens: Annotated[int, "num_tokens"]
    held_by: str
    block_tokens: int | None
    available_bytes: int | None
    logical_bytes: int
    bytes: int
    rounding_bytes: int
    percentiles: list[Percentile]
    shared_prefix: Annotated[Prefix | None, "prefix"]
    assumptions: list[str]
