"""How a model is dealt out to devices: tensor, pipeline, data and expert parallelism, rank by rank."""

from collections.abc import Iterator

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.loaded import Loaded
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen, remembered
from kvcalc.memory.asked_beside import NOTHING, Beside
from kvcalc.memory.beside import check_layout, groups_beside, parts_beside
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.inventory import groups_of
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import shape_on
from kvcalc.memory.stages import decoder_stages, stage_functions
from kvcalc.memory.weights import device_weight_bytes, ledger
from kvcalc.spec.model import ModelSpec


@frozen
class Stage:
    """One pipeline stage: the weights of the fullest of its devices.

    beside: what of the weights is loaded beside the model, by part.
    """

    layers: range
    weight_bytes: int
    beside: tuple[tuple[str, int], ...] = ()


def stages_of(
    spec: ModelSpec, dtype: str, dtypes: CacheDtypes, layout: Layout, beside: Beside = NOTHING,
    loaded: Loaded | None = None,
) -> tuple[Stage, ...]:  # fmt: skip
    """Every stage of a layout; the last has what is loaded beside the model.

    loaded: the weights as an engine's classes allocate them; None: as the checkpoint is divided.

    Raises UnsupportedError where the ranks do not divide the model, UsageError where a flag does
    not apply to it.
    """
    ranges = decoder_stages(spec, layout.pipeline)
    if loaded is not None:
        weights = loaded.fullest_of_stages(layout.tensor)
    else:
        weights = _divided(spec, dtype, layout, ranges)
    check_layout(beside, layout)
    parts = parts_beside(spec, beside, dtype, layout)
    weights[-1] += sum(part.rank_bytes for part in parts)
    whole_cache(spec, dtypes, beside, layout.tensor)
    stages = [Stage(layers, weight) for layers, weight in zip(ranges, weights, strict=True)]
    stages[-1] = changed(stages[-1], beside=tuple((part.name, part.rank_bytes) for part in parts))
    return tuple(stages)


def _divided(spec: ModelSpec, dtype: str, layout: Layout, ranges: tuple[range, ...]) -> list[int]:
    """The checkpoint's bytes on a device of each stage."""
    weights = device_weight_bytes(spec, dtype, layout.tensor, layout.pipeline)[:: layout.tensor]
    if not layout.expert and layout.data == 1:
        return weights
    moved = _moved_experts(spec, dtype, layout, ranges)
    return [total + more for total, more in zip(weights, moved, strict=True)]


def whole_cache(spec: ModelSpec, dtypes: CacheDtypes, beside: Beside, ranks: int) -> CacheFunction:
    """A sequence's cache on one of so many tensor ranks that holds every layer, and what is loaded beside
    the model.

    Raises UnsupportedError where they do not divide it, which is so on stages as well: each tensor of
    the whole is on one of them, with the same shape on a rank.
    """
    made, key = _caches(spec), (dtypes, ranks)
    if key not in made:
        made[key] = compile_groups(groups_of(spec), dtypes, ranks)
    return _with_beside(made[key], spec, dtypes, beside, ranks)


def stage_caches(
    spec: ModelSpec, dtypes: CacheDtypes, layout: Layout, beside: Beside = NOTHING
) -> list[CacheFunction]:
    """A sequence's cache on a rank of every stage; the last has what is loaded beside the model. Raises as
    ``stages_of``."""
    caches = stage_functions(spec, groups_of(spec), dtypes, layout)
    caches[-1] = _with_beside(caches[-1], spec, dtypes, beside, layout.tensor)
    return caches


def _with_beside(
    cache: CacheFunction, spec: ModelSpec, dtypes: CacheDtypes, beside: Beside, ranks: int
) -> CacheFunction:
    groups = groups_beside(spec, beside)
    if not groups:
        return cache
    return CacheFunction((*cache.terms, *compile_groups(groups, dtypes, ranks).terms))


@remembered
def _caches(spec: ModelSpec) -> dict[tuple[CacheDtypes, int], CacheFunction]:
    """What was asked for so far: every format of the weights and every number of stages has the same."""
    return {}


def _moved_experts(
    spec: ModelSpec, dtype: str, layout: Layout, ranges: tuple[range, ...]
) -> Iterator[int]:
    """By how much experts that stand once among the ranks of all replicas, whole or cut, differ from
    experts cut over the tensor ranks. Raises UsageError for --expert-parallel of a model without, and
    UnsupportedError where the ranks do not divide an expert."""
    rows = [
        row
        for row in ledger(spec, dtype).rows
        if row.component == "experts" and row.place == "layers"
        and row.weight.tensor.experts_per_token is not None
    ]  # fmt: skip
    if not rows and layout.expert:
        raise UsageError(f"{spec.name} has no routed experts: leave --expert-parallel out")
    for layers in ranges:
        moved = 0
        for row in rows:
            tensor = row.weight.tensor
            owned = sum(index in layers for index in row.layers)
            cut = row.shape_bytes(tensor.per_rank(layout.tensor))
            moved += (row.shape_bytes(shape_on(tensor, layout)) - cut) * owned
        yield moved
