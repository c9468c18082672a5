"""llama.cpp's cells for sequences: a stream of pad256(tokens) cells each (--ctx-size tokens * N
--parallel N), rows of f32 states, a micro-batch's slack in window caches."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.holding import Holding, Part, Share, Slab, group_parts
from kvcalc.engines.llama_cpp.caches import WINDOW_IGNORED, caches_of, groups_kept
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.setup import CELLS, Setup, format_name, resolve
from kvcalc.engines.llama_cpp.versions import VERSION
from kvcalc.engines.result import Cache, Waste
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.memory.cache import compile_groups
from kvcalc.memory.inventory import CacheGroup
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Window

# DeepSeek-V4's coarsest entries stand for 128 tokens, and their cells are padded to 256 as well.
_PERIOD = 128 * CELLS


def hold(spec: ModelSpec, request: LlamaCppFlags) -> Holding:
    """Cells of one sequence of ctx_size tokens. Raises as ``llama_cpp.capacity`` does."""
    tokens = request.ctx_size or 1
    groups = groups_kept(spec)
    if spec.encoder is not None:
        raise UnsupportedError(
            "llama.cpp keeps nothing of the encoder, so its cache cannot be set beside the need; "
            "'kvcalc capacity --engine llama.cpp' lists what it allocates"
        )
    setup = resolve(spec, request)
    # All at once first: what llama.cpp refuses of a model, it refuses of the whole.
    caches_of(spec, groups, setup, request)

    def stage_bytes(length: int) -> tuple[int, ...]:
        sized = resolve(spec, changed(request, ctx_size=max(1, length)))
        return (sum(cache.bytes for cache in caches_of(spec, groups, sized, request)),)

    slabs, waste = [], []
    need: dict[Part, int] = {"kv": 0, "index": 0, "state": 0}
    for group in groups:
        caches = [cache for cache in caches_of(spec, (group,), setup, request) if cache.bytes]
        if not caches:
            continue
        slabs.append(_slab(group, caches))
        own = _need(group, setup, tokens)
        for part, num_bytes in own.items():
            need[part] += num_bytes
        whole = spec.model_type in WINDOW_IGNORED and any(
            isinstance(tensor.extent, Window) for tensor in group.tensors
        )
        waste += _waste(caches, own, whole)
    return Holding(
        version=request.engine_version or VERSION,
        shares=(Share(slabs=tuple(slabs), need=need, waste=tuple(waste)),),
        stage_bytes=stage_bytes,
        far=_far(groups, setup),
        period=_PERIOD,
        step=CELLS,
        formats={
            "kv": f"K in {format_name(setup.k)}, V in {format_name(setup.v)}",
            "index": f"index keys in K's format, {format_name(setup.k)}",
            "state": "states as the mechanism has them, before f32",
        },
        rules=(f"{setup.cells} cells a sequence: {tokens} rounded up to {CELLS} "
               "(llama_context::llama_context)",),
        notes=(f"--ubatch {setup.ubatch}, a stream for each sequence",),
    )  # fmt: skip


def _far(groups: tuple[CacheGroup, ...], setup: Setup) -> int:
    """From here on every window cache has all its cells."""
    windows = [getattr(tensor.extent, "size", 0) for group in groups for tensor in group.tensors]
    return max(windows, default=0) + setup.ubatch + CELLS


def _need(group: CacheGroup, setup: Setup, tokens: int) -> dict[Part, int]:
    """The logical need in the formats of K and V."""
    dtypes = CacheDtypes(setup.k.name, setup.v.name)
    length = compile_groups((group,), dtypes).peak(tokens)
    return group_parts((group,), Workload(context_tokens=tokens, cache=dtypes), length)


def _slab(group: CacheGroup, caches: list[Cache]) -> Slab:
    """The group's caches as rows of one layer."""
    tensors: list[tuple[str, int, int]] = []
    for cache in caches:
        rows = cache.cells or 1
        for letter, num_bytes in (("K", cache.k_bytes), ("V", cache.v_bytes),
                                  ("R", cache.r_bytes), ("S", cache.s_bytes)):  # fmt: skip
            if num_bytes:
                each = num_bytes // len(group.layers) // rows
                tensors.append((f"{cache.name} {letter}", rows, each))
    return Slab(block=group.block, mechanism=group.mechanism, layers=group.layers,
                tensors=tuple(tensors))  # fmt: skip


def _waste(caches: list[Cache], need: dict[Part, int], whole: bool) -> list[Waste]:
    """Why the caches of one group are larger than its need. DeepSeek-V4's are one cause together."""
    held: dict[Part, int] = {"kv": 0, "index": 0, "state": 0}
    several = any(cache.name.startswith("raw") for cache in caches)
    cause = "windows kept whole" if whole else "cells padded to 256"
    for cache in caches:
        part: Part = "kv"
        if not several and cache.type == "recurrent":
            part = "state"
        elif cache.type == "indexer":
            part = "index"
        held[part] += cache.bytes
        if "(window)" in cache.name:
            cause = "cells beyond the window"
    if several:
        cause = "padded cells, slack of windows, whole compressor rows"
    causes: dict[Part, str] = {
        "kv": cause, "index": "index rows", "state": "convolution columns and states in f32",
    }  # fmt: skip
    return [
        Waste(cause=causes[part], bytes=held[part] - need[part], per_request=True,
              why=_WHY[causes[part]])
        for part in held
        if held[part] != need[part]
    ]  # fmt: skip


_WHY = {
    "cells padded to 256": "a stream's cells are a multiple of 256, in each of its caches",
    "windows kept whole": "llama.cpp loads this architecture without its window",
    "cells beyond the window": "a window cache has room for a micro-batch, padded to 256 cells",
    "padded cells, slack of windows, whole compressor rows":
        "every cache of DeepSeek-V4 is padded to 256 cells, and its f32 compressor rows are kept whole",
    "index rows": "index keys have rows for all cells, and V rows where the cache is not MLA's",
    "convolution columns and states in f32": "llama.cpp keeps R and S in f32, whatever K and V are",
}  # fmt: skip
