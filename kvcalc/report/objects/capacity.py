"""``kvcalc capacity --format json``."""

from typing import Annotated, TypedDict

from kvcalc.engines.result import Cache, LayerGroup, Pool, Waste
from kvcalc.report.objects.common import EngineName, Model


class Capacity(TypedDict):
    """What an engine allocates; what it lacks is null.

    Fields:
        pool_range: the pools of the least and the most memory that the figure may be rounded from.
        rules: which of the engine's rules applied, each with its function.
    """

    model: Model
    engine: Annotated[EngineName, ""]
    pool: Pool
    groups: list[LayerGroup]
    caches: list[Cache]
    waste: list[Waste]
    pool_range: list[Pool] | None
    max_model_len: int | None
    logical_bytes_per_request: int | None
    rules: list[str]
    notes: list[str]
