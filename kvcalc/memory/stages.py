"""Pipeline stages: which layers each rank holds, and what they may not be torn apart from.

A layer that reads another layer's cache needs it on its own device: engines copy no cache between
stages, so a split between the two is refused by name.
"""

from collections.abc import Collection

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, remembered
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.inventory import CacheGroup
from kvcalc.memory.layout import Layout
from kvcalc.spec.layers import Layer, decoder_layers, encoder_layers, kv_source
from kvcalc.spec.model import ModelSpec


def pipeline_stages(num_layers: int, ranks: int) -> tuple[range, ...]:
    """Which layers each pipeline rank holds: even shares, the remainder one each to the last ranks
    but one and those before it (vLLM distributed/utils.py, get_pp_indices).

    Raises UsageError when there are more ranks than layers.
    """
    if ranks > max(num_layers, 1):
        raise UsageError(f"{num_layers} layers cannot fill {ranks} pipeline ranks")
    share, rest = divmod(num_layers, ranks)
    sizes = [share] * ranks
    for extra in range(rest):
        # The last rank has the head, so it is the last to get one more; with two ranks, never.
        sizes[(ranks - 2 - extra) % ranks] += 1
    starts = [sum(sizes[:rank]) for rank in range(ranks + 1)]
    return tuple(range(starts[rank], starts[rank + 1]) for rank in range(ranks))


def decoder_stages(spec: ModelSpec, ranks: int) -> tuple[range, ...]:
    """Which decoder layers each pipeline rank holds.

    Raises UnsupportedError for an encoder-decoder, and where a stage would lack a cache it reads.
    """
    stages = pipeline_stages(len(decoder_layers(spec)), ranks)
    if ranks > 1 and encoder_layers(spec):
        raise UnsupportedError("pipeline parallelism of an encoder-decoder is not accounted for")
    refuse_split_cache(spec, stages)
    return stages


def refuse_split_cache(spec: ModelSpec, stages: Collection[Collection[int]]) -> None:
    """Raise UnsupportedError where a layer reads the cache of a layer on another stage."""
    sources = {} if len(stages) == 1 else _other_sources(spec)
    if not sources:
        return
    split: dict[int, list[str]] = {}
    stage_of = {layer: number for number, stage in enumerate(stages) for layer in stage}
    for layer, source in sources.items():
        if stage_of.get(source) != stage_of.get(layer):
            split.setdefault(source, []).append(str(layer))
    if split:
        readers = "; ".join(
            f"{', '.join(who)} read layer {source}'s" for source, who in split.items()
        )
        raise UnsupportedError(f"pipeline stages would split layers that share a cache: {readers}")


@remembered
def _other_sources(spec: ModelSpec) -> dict[int, int]:
    """For each layer that reads another's cache that layer."""
    layers = decoder_layers(spec)
    sources = {layer.index: _cache_source(spec, layers, layer) for layer in layers}
    return {layer: source for layer, source in sources.items() if layer != source}


def _cache_source(spec: ModelSpec, layers: tuple[Layer, ...], layer: Layer) -> int:
    """The layer whose cache a layer reads: its own, unless it shares one."""
    block = spec.blocks[layer.block].shared_kv
    source = kv_source(layers, layer, block) if block is not None else None
    if source is not None:
        return source.index
    if spec.recursion is not None and spec.recursion.kv_cache == "shared":
        return layer.weights
    return layer.index


def stage_functions(
    spec: ModelSpec, groups: tuple[CacheGroup, ...], dtypes: CacheDtypes, layout: Layout
) -> list[CacheFunction]:
    """One sequence's cache on a tensor rank of each pipeline stage. groups: the whole model's.

    Raises UsageError and UnsupportedError where the ranks do not divide the model.
    """
    stages = decoder_stages(spec, layout.pipeline)
    made = _on_stages(groups)
    if stages not in made:
        made[stages] = [
            tuple([kept for group in groups if (kept := _on_stage(group, stage)) is not None])
            for stage in stages
        ]
    return [compile_groups(held, dtypes, layout.tensor) for held in made[stages]]


@remembered
def _on_stages(
    groups: tuple[CacheGroup, ...],
) -> dict[tuple[range, ...], list[tuple[CacheGroup, ...]]]:
    """What was asked for so far: every number format has the same groups on a stage."""
    return {}


def _on_stage(group: CacheGroup, stage: range) -> CacheGroup | None:
    """The layers of it that the stage has; None where it has none."""
    if group.stack != "decoder":
        return group
    layers = tuple([index for index in group.layers if index in stage])
    if len(layers) == len(group.layers):
        return group
    return changed(group, layers=layers) if layers else None
