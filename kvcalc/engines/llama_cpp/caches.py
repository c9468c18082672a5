"""The caches of one llama.cpp context: attention, windows, index keys, recurrent rows."""

from collections.abc import Iterator
from math import prod

from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.engines.llama_cpp.deepseek_v4 import deepseek_v4
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.rows import F32, Kept, Kind, Rows, one_cache
from kvcalc.engines.llama_cpp.setup import Setup, draft_types
from kvcalc.engines.pooled import refuse_ngrams, refuse_pools
from kvcalc.engines.result import Cache
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed
from kvcalc.gguf.architectures import ABSENT
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, Chunk, EveryToken, Window

_T5 = {"t5", "mt5", "umt5"}

# What llama.cpp has a cache for; the rest of the inventory's kinds it cannot run.
_KINDS = {
    "mha", "mqa", "gqa", "mla", "csa", "hca", "v4_window",
    "mamba1", "mamba2", "gated_deltanet", "kda", "lightning", "short_conv", "rwkv6", "rwkv7",
    "rwkv_channel_mix",
}  # fmt: skip
# Architectures that it loads without their window (models/llama.cpp, qwen2.cpp, starcoder2.cpp,
# smollm3.cpp, dots1.cpp have none; models/phi3.cpp reads it and turns it off).
WINDOW_IGNORED = {
    "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "starcoder2", "phi3",
    "phimoe", "smollm3", "dots1",
}  # fmt: skip
# Latent attention whose keys and values per head it keeps (models/minicpm3.cpp sets no MLA widths).
_EXPANDED = {"minicpm3"}


def groups_kept(spec: ModelSpec) -> tuple[CacheGroup, ...]:
    """The decoder's layers that keep something. Raises UnsupportedError for what it cannot run.

    Of encoder-decoders it runs T5, whose keys and values of the encoder it works out again at each
    step; its cache has as many layers as the encoder (llama_kv_cache goes over block_count).
    """
    if spec.model_type in ABSENT:
        raise UnsupportedError(f"llama.cpp has no architecture for {spec.model_type}")
    groups = groups_of(_expanded(spec))
    if spec.encoder is not None:
        groups = tuple(group for group in groups if group.mechanism != "cross")
        encoder = sum(part.repeat * len(part.blocks) for part in spec.encoder.layers)
        if spec.model_type not in _T5 or any(len(group.layers) != encoder for group in groups):
            raise UnsupportedError(
                "of encoder-decoder models llama.cpp runs T5 with equal numbers of layers"
            )
    for group in groups:
        if group.mechanism not in _KINDS or spec.recursion is not None:
            raise UnsupportedError(f"llama.cpp has no cache for {group.mechanism} ({group.block})")
    return groups


def _expanded(spec: ModelSpec) -> ModelSpec:
    """The spec with latents as llama.cpp keeps them: per head for architectures and files without
    the widths that make it keep a latent (llama_hparams::is_mla)."""
    every = spec.model_type in _EXPANDED
    blocks = {
        name: changed(block, attention=changed(block.attention, cache_layout="expanded"))
        if isinstance(block.attention, MultiHeadLatentAttention)
        and (every or block.attention.cache_layout == "latent_whole_kv_b") else block
        for name, block in spec.blocks.items()
    }  # fmt: skip
    return changed(spec, blocks=blocks)


def rows_of(spec: ModelSpec, groups: tuple[CacheGroup, ...]) -> Iterator[Rows]:
    """The attention layers of the inventory as rows of cells."""
    for group in groups:
        tensors = {tensor.role: tensor for tensor in group.tensors}
        refuse_ngrams("llama.cpp", spec.blocks[group.block])
        if spec.blocks[group.block].attention is not None:
            refuse_pools("llama.cpp", spec.blocks[group.block].attention)
        if "key" in tensors:
            key, value = tensors["key"], tensors["value"]
            kept, window = _kept(spec, key)
            heads = key.shape[0]
            v = (value.shape[1], heads)
            yield Rows(kept, len(group.layers), (key.shape[1], heads), v, window)
            if "index" in tensors:
                width = tensors["index"].shape[0]
                # Not marked as MLA, so V rows are allocated too: one head as wide as the layer's.
                yield Rows("indexer", len(group.layers), (width, 1), (value.shape[1], 1))
        elif "latent" in tensors:
            width = tensors["latent"].shape[0] + tensors["rope_key"].shape[0]
            kept, window = _kept(spec, tensors["latent"])
            yield Rows(kept, len(group.layers), (width, 1), None, window)
            if "index" in tensors:
                yield Rows("indexer", len(group.layers), (tensors["index"].shape[0], 1), None)


def _kept(spec: ModelSpec, tensor: CacheTensor) -> tuple[Kept, int]:
    match tensor.extent:
        case EveryToken():
            return "every", 0
        case Window(size) | Chunk(size):
            return ("every", 0) if spec.model_type in WINDOW_IGNORED else ("window", size)
    raise UnsupportedError(f"llama.cpp keeps no such positions: {tensor.extent}")


def caches_of(
    spec: ModelSpec, groups: tuple[CacheGroup, ...], setup: Setup, request: LlamaCppFlags
) -> tuple[Cache, ...]:
    if any(tensor.role == "key_value" for group in groups for tensor in group.tensors):
        caches = list(deepseek_v4(groups, setup))
    else:
        caches = list(_attention(tuple(rows_of(spec, groups)), setup))
        caches += _recurrent(groups, setup)
    return (*caches, *_mtp(spec, setup, request))


def _attention(rows: tuple[Rows, ...], setup: Setup, name: str = "attention") -> Iterator[Cache]:
    """One cache for the layers that keep every token, one for windows, one for index keys."""
    kinds: tuple[tuple[Kept, str, Kind], ...] = (
        ("every", name, "attention"),
        ("window", f"{name} (window)", "attention"),
        ("indexer", "indexer", "indexer"),
    )
    windows = {row.window for row in rows if row.kept == "window"}
    if len(windows) > 1:
        raise UnsupportedError(f"llama.cpp has one window for a model; this has {sorted(windows)}")
    for kept, title, kind in kinds:
        chosen = [row for row in rows if row.kept == kept]
        if not chosen:
            continue
        cells = (
            setup.window_cells(windows.pop(), setup.unified) if kept == "window" else setup.cells
        )
        yield one_cache(title, kind, chosen, cells, setup.streams, setup)


def state_elements(group: CacheGroup) -> tuple[int, int]:
    """Elements of R and of S that one sequence has in one layer."""
    r = sum(prod(tensor.shape) for tensor in group.tensors if tensor.role == "conv")
    s = sum(prod(tensor.shape) for tensor in group.tensors if tensor.role == "state")
    return r, s


def _recurrent(groups: tuple[CacheGroup, ...], setup: Setup) -> Iterator[Cache]:
    r = s = 0
    layers: set[int] = set()
    for group in groups:
        one_r, one_s = state_elements(group)
        if one_r or one_s:
            layers |= set(group.layers)
            r, s = r + one_r * len(group.layers), s + one_s * len(group.layers)
    if layers:
        r_bytes, s_bytes = (each * F32 * setup.sequences * setup.rows for each in (r, s))
        yield Cache(name="recurrent", type="recurrent", layers=len(layers), cells=setup.sequences,
                    r_bytes=r_bytes, s_bytes=s_bytes, bytes=r_bytes + s_bytes)  # fmt: skip


def _mtp(spec: ModelSpec, setup: Setup, request: LlamaCppFlags) -> Iterator[Cache]:
    count = request.mtp_layers or 0
    if not count:
        return
    if spec.mtp is None:
        raise UsageError(f"{spec.name} has no MTP layers: leave --mtp-layers out")
    if count > spec.mtp.num_layers:
        raise UsageError(f"--mtp-layers {count}: {spec.name} has {spec.mtp.num_layers}")
    attention = spec.blocks[spec.mtp.block].attention
    if attention is None:
        raise UnsupportedError("llama.cpp's MTP context is one of attention layers")
    tensors = tuple(tensor for tensor in attention.cache() if tensor.role != "index")
    group = CacheGroup("mtp", spec.mtp.block, "attention", attention.kind,
                       tuple(range(count)), tensors)  # fmt: skip
    k, v = draft_types(request)
    draft = changed(setup, k=k, v=v)
    shared = [tensor for tensor in tensors if tensor.role == "key_value"]
    if shared:
        size = shared[0].extent.size if isinstance(shared[0].extent, Window) else 0
        rows = [Rows("window", count, (shared[0].shape[0], 1), None)]
        cells = draft.window_cells(size, setup.unified)
        yield one_cache("MTP (window)", "attention", rows, cells, setup.streams, draft)
        return
    yield from _attention(tuple(rows_of(spec, (group,))), draft, "MTP")
