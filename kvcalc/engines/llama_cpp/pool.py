"""llama.cpp: rows of cells, one cache per kind of layer, allocated whole at the start.

Rules, as read from llama.cpp (src/, as vendored in llama-cpp-python 0.3.36):

* cells: --ctx-size is rounded up to 256; without --kv-unified every sequence has a stream of its
  own, pad256(ctx / parallel) cells long, so 1024 tokens for 3 slots are 3 * 512 cells
  (llama-context.cpp, llama_context::llama_context);
* a K row is the layer's KV heads side by side in the --cache-type-k format, V likewise; a format's
  block must divide a head (llama_kv_cache::llama_kv_cache, llama_init_from_model);
* windows and chunks: pad256(min(cells, n_swa * (unified ? parallel : 1) + ubatch)) cells, all of
  them with --swa-full (llama_kv_cache_iswa);
* MLA: one row of kv_lora_rank + qk_rope_head_dim, no V (llama_hparams::is_mla); K and V formats
  must be the same. MiniCPM3 alone keeps keys and values of every head;
* indexer keys: a cache of their own in the K format (llama_kv_cache_dsa). MiniMax-M3's
  (llama_kv_cache_msa) is not marked as MLA, so it gets V rows that nothing reads;
* recurrent layers: R (convolution columns, token shifts) and S (states), always f32, one row per
  sequence and 1 + n rows when n draft tokens may be rolled back, which some architectures can
  (llama_memory_recurrent; llm_arch_supports_rs_rollback). They are per sequence, unified or not;
* DeepSeek-V4: a window cache for every layer, CSA and index entries in pad256(ceil(cells / 4))
  cells, HCA in pad256(ceil(cells / 128)), and f32 compressor states: 2 * 4 rows twice as wide for
  CSA and the index, 128 rows for HCA; a stream per sequence, unified or not (llama_kv_cache_dsv4);
* layers that share another layer's K and V own nothing (llama_hparams::has_kv);
* MTP layers have a context of their own: their cache is beside the model's, in f16 whatever
  --cache-type-k says, unless --cache-type-k-draft does (llama_model::create_memory for
  LLAMA_CONTEXT_TYPE_MTP; common_params_speculative). Their DSA indexer is not used;
* T5's cache is its decoder's own: what it attends of the encoder is worked out again at each step;
* encoders keep nothing (llama_model::create_memory; older builds did allocate a cache for BERT).

Sizes hold with flash attention, which llama.cpp turns on where it can. Without it V is kept
transposed and, where layers differ in width, padded to the widest.
"""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.llama_cpp.caches import (
    WINDOW_IGNORED,
    caches_of,
    groups_kept,
    rows_of,
    state_elements,
)
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.rows import F32, Kept
from kvcalc.engines.llama_cpp.setup import CELLS, UBATCH, Setup, format_name, resolve, row_bytes
from kvcalc.engines.llama_cpp.versions import VERSION
from kvcalc.engines.result import CapacityResult, Pool, Waste
from kvcalc.frozen import changed
from kvcalc.memory.cache import cache_function
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Window
from kvcalc.units import MAX_TOKENS


def capacity(spec: ModelSpec, request: LlamaCppFlags) -> CapacityResult:
    """The caches that llama.cpp allocates, as its log lists them.

    Raises UsageError for flags that make no sense, UnsupportedError for models it has no cache for.
    """
    setup = resolve(spec, request)
    groups = groups_kept(spec)
    rules, notes = list(_rules(setup)), list(_notes(spec, groups, setup, request))
    caches = caches_of(spec, groups, setup, request)
    total = sum(cache.bytes for cache in caches)
    longest = None
    if request.available is not None:
        longest = _longest(spec, groups, setup, request)
    dtypes = CacheDtypes(setup.k.name, setup.v.name)
    logical = cache_function(spec, dtypes).most(setup.cells)
    return CapacityResult(
        engine="llama.cpp",
        version=request.engine_version or VERSION,
        model=spec.name,
        pool=Pool(
            available_bytes=request.available.bytes if request.available else None,
            tokens=setup.cells * setup.streams,
            estimated_max_model_len=longest,
            bytes=total,
        ),
        max_model_len=setup.cells,
        logical_bytes_per_request=logical,
        caches=caches,
        waste=tuple(_waste(spec, groups, setup)),
        rules=tuple(rules),
        notes=tuple(notes),
    )


def _longest(
    spec: ModelSpec, groups: tuple[CacheGroup, ...], setup: Setup, request: LlamaCppFlags
) -> int | None:
    """The most cells of one stream that fit the memory, in steps of 256; 0 when none do, None where
    any number does."""
    assert request.available is not None
    limit = request.available.bytes

    def fits(steps: int) -> bool:
        tried = changed(setup, cells=steps * CELLS)
        return sum(cache.bytes for cache in caches_of(spec, groups, tried, request)) <= limit

    least, most = 0, MAX_TOKENS // CELLS
    if fits(most):
        return None
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least * CELLS


def _rules(setup: Setup) -> Iterator[str]:
    total = setup.cells * setup.streams
    yield (
        f"--ctx-size {setup.asked} for {setup.sequences} sequence(s), "
        f"{'one stream for all' if setup.unified else 'a stream each'}: {setup.streams} x "
        f"{setup.cells} = {total} cells (llama_context::llama_context)"
    )
    yield (
        f"rows of K in {format_name(setup.k)}, of V in {format_name(setup.v)}, for every cell at "
        "once (llama_kv_cache::llama_kv_cache)"
    )


def _notes(
    spec: ModelSpec, groups: tuple[CacheGroup, ...], setup: Setup, request: LlamaCppFlags
) -> Iterator[str]:
    if request.ctx_size is None:
        yield f"--ctx-size: the model's longest, {spec.max_position_embeddings}"
    if request.parallel is None:
        yield "--parallel 1 and no --kv-unified; llama-server may choose 4 unified slots itself"
    if request.ubatch is None:
        yield f"--ubatch {UBATCH}, llama.cpp's default"
    if (
        setup.rows == 1
        and request.speculative_tokens
        and any(map(any, map(state_elements, groups)))
    ):
        yield f"llama.cpp cannot roll {spec.model_type}'s states back: one row a sequence"
    if spec.model_type in WINDOW_IGNORED and any(
        isinstance(tensor.extent, Window) for group in groups_of(spec) for tensor in group.tensors
    ):
        yield f"llama.cpp's {spec.model_type} has no window: every token is kept"


def _waste(spec: ModelSpec, groups: tuple[CacheGroup, ...], setup: Setup) -> Iterator[Waste]:
    """What the padding, the window's slack and f32 cost, over all sequences."""
    rows = tuple(rows_of(spec, groups))

    def of(kept: tuple[Kept, ...]) -> int:
        chosen = [row for row in rows if row.kept in kept]
        k = sum(row.layers * row_bytes(setup.k, row.k, "K") for row in chosen)
        return k + sum(row.layers * row_bytes(setup.v, row.v, "V") for row in chosen if row.v)

    total = setup.cells * setup.streams
    if total > setup.asked and of(("every", "indexer")):
        yield Waste(
            cause="cells padded to 256",
            bytes=(total - setup.asked) * of(("every", "indexer")),
            why=f"{setup.asked} cells asked for, {setup.streams} x {setup.cells} allocated",
        )
    for window in {row.window for row in rows if row.kept == "window"}:
        cells = setup.window_cells(window, setup.unified) * setup.streams
        need = min(window, setup.cells) * setup.sequences
        if cells > need:
            yield Waste(
                cause="cells beyond the window",
                bytes=(cells - need) * of(("window",)),
                why=f"a window of {window} needs {need} cells; a micro-batch of {setup.ubatch} "
                f"and padding make them {cells}"
                if not setup.swa_full
                else f"--swa-full keeps {cells} cells for a window of {window}",
            )
    states = [state_elements(group) for group in groups]
    conv = sum(r * len(group.layers) for (r, _), group in zip(states, groups, strict=True))
    state = sum(s * len(group.layers) for (_, s), group in zip(states, groups, strict=True))
    if conv:
        narrow = conv * F32 - int(conv * Fraction(setup.k.block_bytes, setup.k.block_elements))
        if narrow > 0:
            yield Waste(
                cause="convolution columns in f32",
                bytes=narrow * setup.sequences,
                why=f"the logical answer keeps them in {format_name(setup.k)}",
            )
    if setup.rows > 1 and conv + state:
        yield Waste(
            cause="states to roll back to",
            bytes=(conv + state) * F32 * setup.sequences * (setup.rows - 1),
            why=f"{setup.rows - 1} draft tokens keep a state each beside the present one",
        )
