"""DeepSeek-V4 in llama.cpp: a window cache, three compressed caches and f32 compressor states."""

from collections.abc import Iterator

from kvcalc.engines.llama_cpp.rows import F32, Kind, Rows, one_cache
from kvcalc.engines.llama_cpp.setup import Setup, pad
from kvcalc.engines.result import Cache
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import CacheGroup
from kvcalc.tensors import PerBlock, Window


@frozen
class _Compressed:
    """Layers with one compressor. ratio: tokens of an entry. series: 2 where blocks overlap."""

    layers: int
    ratio: int
    series: int
    width: int


def deepseek_v4(groups: tuple[CacheGroup, ...], setup: Setup) -> Iterator[Cache]:
    """The caches of llama_kv_cache_dsv4, in the order of its log; unified or not, a stream each."""
    streams = setup.sequences
    yield Cache(name="raw", type="attention", layers=0, cells=setup.cells, streams=streams,
                k_bytes=0, v_bytes=0, bytes=0)  # fmt: skip
    windows = [
        (len(group.layers), tensor.shape[0], tensor.extent.size)
        for group in groups
        for tensor in group.tensors
        if tensor.name == "key_value" and isinstance(tensor.extent, Window)
    ]
    rows = [Rows("window", layers, (width, 1), None) for layers, width, _ in windows]
    cells = setup.window_cells(max(size for _, _, size in windows), False)
    yield one_cache("raw (window)", "attention", rows, cells, streams, setup)
    compressed = _compressed(groups)
    for name, found in compressed.items():
        cells = pad(max(1, -(-setup.cells // found.ratio)))
        kind: Kind = "indexer" if name == "index" else "attention"
        rows = [Rows("every", found.layers, (found.width, 1), None)]
        yield one_cache(name, kind, rows, cells, streams, setup)
    for name, found in compressed.items():
        # llama_dsv4_comp_state: kv and score, each (series * ratio) rows of series * width.
        cells = found.series * found.ratio
        one = cells * found.series * found.width * F32 * found.layers * streams * setup.rows
        yield Cache(name=f"{name} compressor state", type="recurrent", layers=found.layers,
                    cells=cells, streams=streams, r_bytes=one, s_bytes=one,
                    bytes=2 * one)  # fmt: skip


def _compressed(groups: tuple[CacheGroup, ...]) -> dict[str, _Compressed]:
    """csa, hca, index -> the layers that have such entries."""
    found: dict[str, _Compressed] = {}
    for group in groups:
        series = 2 if any(tensor.name.startswith("overlap") for tensor in group.tensors) else 1
        for tensor in group.tensors:
            if not isinstance(tensor.extent, PerBlock):
                continue
            name = "index" if tensor.role == "index" else ("hca", "csa")[series - 1]
            layers = len(group.layers) + (found[name].layers if name in found else 0)
            found[name] = _Compressed(layers, tensor.extent.stride, series, tensor.shape[0])
    return {name: found[name] for name in ("csa", "hca", "index") if name in found}
