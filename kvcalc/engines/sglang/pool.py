"""SGLang: pools of token slots sized from what is left after loading; states in a pool of their own.

Rules, as read from SGLang 0.5.23 (sglang/srt):

* cell_size = what one token takes in all layers of a rank: max(1, KV heads / tp) heads; the pool
  has memory // cell_size tokens, rounded down to a page; its buffers have one page more, for what
  is thrown away (model_executor/pool_configurator.py, DefaultPoolConfigurator;
  mem_cache/memory_pool.py, MHATokenToKVPool: size + page_size);
* MLA: kv_lora_rank + qk_rope_head_dim elements, whole on every rank (calculate_mla_kv_cache_dim);
* DSA: 656 bytes in fp8 (512, four fp32 scales, 64 bf16), 576 where the kernels take raw rows
  (TRT-LLM, TileLang, HIP), and 132 bytes for each layer that owns an indexer, whatever the cache's
  format (_compute_dsa_indexer_cell_size). The page is 64;
* MiniMax-M3: index keys in the model's format (MiniMaxSparseKVPool);
* windows: a pool for them beside the full one, --swa-full-tokens-ratio (0.8) times as many tokens:
  cell = full layers + ratio * window layers (HybridSWAPoolConfigurator), for the architectures of
  configs/model_config.py, is_hybrid_swa_model; in all others windows are kept whole;
* states: --mamba-full-memory-ratio r (0.9) of the memory of attention goes to states: r / (1 + r)
  of the budget, one slot of it for padding (KVCacheConfigurator._handle_max_mamba_cache). The log
  prints the slots without that one. Without a radix cache there is a slot per running request,
  --max-num-seqs; with it a request may hold three;
* speculative decoding: draft layers take the cell size of a layer each; a draft token's states are
  kept for every request that runs (MambaPool.SpeculativeState);
* layers that share another's K and V are given slots all the same: the pools span every layer;
* pipeline ranks: the layers left over go one each to the last (distributed/utils.py, get_pp_indices).

versions.py says what earlier versions do otherwise. Without a radix cache and with
--max-running-requests the window pool is sized for the requests in flight: that is refused.
"""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.result import Cache, CapacityResult, LayerGroup, Pool, Waste
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.layers import Layers, count_layers, page_size, stages
from kvcalc.engines.sglang.states import (
    Slots,
    running_requests,
    slots_for_budget,
    slots_for_requests,
    state_caches,
)
from kvcalc.engines.sglang.versions import STATE_RATIO, WINDOW_RATIO, Rules, rules_for
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.cache import cache_function
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec


@frozen
class _Sizes:
    """What one rank allocates. tokens: full pool; window_tokens: window pool; slots: states."""

    tokens: int
    window_tokens: int
    slots: Slots | None


def capacity(spec: ModelSpec, request: SglangFlags) -> CapacityResult:
    """The pools that SGLang allocates on a rank, as its log states them.

    Raises UsageError for flags that make no sense, UnsupportedError for what SGLang cannot run or
    kvcalc cannot account for.
    """
    if (request.available is None) == (request.tokens is None):
        raise UsageError("give SGLang's memory (--available) or the pool's tokens (--tokens)")
    rules = rules_for(request.engine_version)
    dealt = stages(len(decoder_layers(spec)), request.layout.pipeline, rules)
    ranks = [count_layers(spec, request, stage) for stage in dealt]
    page = request.block_size or page_size(ranks)
    _check(ranks, request, rules)
    most_states = max(layers.state_bytes for layers in ranks)
    answers = []
    for layers in ranks:
        slot = most_states if rules.largest_stage else layers.state_bytes
        if request.available is None:
            found = [_from_tokens(layers, page, request, rules)] * 3
        else:
            memory = request.available
            budgets = (memory.bytes, memory.least, memory.most)
            found = [_from_memory(layers, page, slot, budget, request, rules) for budget in budgets]
        answers.append((layers, found))
    # Ranks agree on the fewest tokens (KVCacheConfigurator._apply_token_constraints).
    layers, found = min(answers, key=lambda answer: answer[1][0].tokens)
    sizes, least, most = found
    pool = _pool(layers, sizes, page, request)
    span = None
    if request.available is not None and not request.available.exact:
        span = (_pool(layers, least, page, request), _pool(layers, most, page, request))
    logical = None
    if request.max_model_len is not None:
        logical = cache_function(spec, layers.logical, request.layout.tensor).most(
            request.max_model_len
        )
    return CapacityResult(
        engine="sglang",
        version=rules.version,
        model=spec.name,
        pool=pool,
        pool_range=span,
        max_model_len=request.max_model_len,
        logical_bytes_per_request=logical,
        groups=tuple(_groups(layers, page)),
        caches=tuple(_caches(layers, sizes, page)),
        waste=tuple(_waste(layers, sizes, page, request)),
        rules=tuple(_rules(layers, sizes, page, request)),
        notes=(*_notes(layers, request), *_too_long(spec, request, pool)),
    )


def _check(ranks: list[Layers], request: SglangFlags, rules: Rules) -> None:
    """Refuse what this version sizes by rules that are not accounted for."""
    windows = any(layers.window and layers.full for layers in ranks)
    if request.available is None:
        return
    if not rules.known_pools and (windows or any(layers.state_bytes for layers in ranks)):
        raise UnsupportedError(
            f"how SGLang {rules.version} divides memory between pools is not accounted for "
            "(0.5.7 and later are); --tokens N gives the bytes of a pool that its log states"
        )
    without_radix = request.prefix_caching is False and request.max_num_seqs is not None
    if windows and without_radix and rules.window_pool_of_requests:
        raise UnsupportedError(
            "with --no-prefix-caching and --max-num-seqs SGLang sizes the window pool for the "
            "requests in flight (SWARequestCapPoolConfigurator), which is not accounted for"
        )


def _ratio(layers: Layers, request: SglangFlags) -> Fraction:
    """Window tokens to full tokens."""
    if not layers.window:
        return Fraction(0)
    return request.window_ratio or WINDOW_RATIO


def _cell(layers: Layers, request: SglangFlags) -> Fraction:
    """Bytes of one token of the full pool, its share of the window pool and the draft included."""
    if not layers.full:
        return Fraction(layers.window + layers.draft)
    return layers.full + layers.draft + _ratio(layers, request) * layers.window


def _billed(layers: Layers, request: SglangFlags, rules: Rules) -> Fraction:
    """Bytes of a token as this version counts them when it sizes the pool."""
    cell = _cell(layers, request) - layers.unbilled
    if not layers.draft or not rules.drafts_in_cell:
        return cell - layers.draft
    scaled = not layers.window and (not layers.dsa or not rules.dsa_drafts_apart)
    if not rules.drafts_scale_cell or not scaled:
        return cell
    # SGLang multiplies in floating point, which loses a byte now and then.
    count = sum(kind.layers for kind in layers.kinds)
    return Fraction(int((layers.full - layers.unbilled) * (1 + layers.draft_layers / count)))


def _token_sizes(
    layers: Layers, tokens: int, page: int, slots: Slots | None, request: SglangFlags
) -> _Sizes:
    tokens = tokens // page * page
    if not layers.full:
        return _Sizes(tokens, tokens if layers.window else 0, slots)
    window = int(tokens * _ratio(layers, request)) // page * page
    return _Sizes(tokens, window, slots)


def _from_tokens(layers: Layers, page: int, request: SglangFlags, rules: Rules) -> _Sizes:
    assert request.tokens is not None
    slots = None
    if layers.state_bytes:
        slots = slots_for_requests(layers.state_bytes, request, rules)
    return _token_sizes(layers, request.tokens, page, slots, request)


def _from_memory(
    layers: Layers, page: int, slot: int, budget: int, request: SglangFlags, rules: Rules
) -> _Sizes:
    """slot: bytes that a state is billed with."""
    slots = None
    if slot:
        ratio = request.state_ratio or STATE_RATIO
        if request.prefix_caching is False and running_requests(request) is not None:
            slots = slots_for_requests(slot, request, rules)
        else:
            slots = slots_for_budget(slot, budget, ratio, request, rules)
        if slots is None or slots.count <= 0:
            raise UsageError(
                f"the memory does not hold one state of {layers.state_bytes:,} bytes beside the "
                "cache: give more, or fewer --speculative-tokens"
            )
        budget -= slots.billed
    if not layers.state_bytes:
        slots = None
    cell = _billed(layers, request, rules)
    if not rules.pools_at_once and layers.window and layers.full:
        whole = layers.full + layers.window
        tokens = budget // whole // page * page * whole // cell
        window = int(tokens * _ratio(layers, request)) // page * page
        return _Sizes(tokens // page * page, window, slots)
    sizes = _token_sizes(layers, max(0, int(budget // cell)) if cell else 0, page, slots, request)
    if cell and not sizes.tokens:
        raise UsageError(
            f"the memory holds no page of {int(cell * page):,} bytes"
            + (f" beside {slots.count} states" if slots else "")
            + ": SGLang stops with 'Not enough memory'; give more"
        )
    return sizes


def _pool(layers: Layers, sizes: _Sizes, page: int, request: SglangFlags) -> Pool:
    per_block = _cell(layers, request) * page
    return Pool(
        available_bytes=request.available.bytes if request.available else None,
        block_tokens=page,
        bytes_per_block=int(per_block),
        num_blocks=sizes.tokens // page,
        tokens=sizes.tokens,
        bytes=sum(cache.bytes for cache in _caches(layers, sizes, page)),
    )


def _groups(layers: Layers, page: int) -> Iterator[LayerGroup]:
    for kind in layers.kinds:
        yield LayerGroup(
            mechanism=kind.mechanism,
            layers=kind.layers,
            block_tokens=page,
            page_bytes=(kind.k + kind.v + kind.index) * page,
        )


def _caches(layers: Layers, sizes: _Sizes, page: int) -> Iterator[Cache]:
    """The pools as the log prints them, one dump page included in each."""
    for window, name, tokens in (
        (False, "full", sizes.tokens),
        (True, "window", sizes.window_tokens),
    ):
        kinds = [kind for kind in layers.kinds if kind.window is window]
        if not kinds:
            continue
        slots = tokens + page
        k, v, index = (
            sum(getattr(kind, part) * kind.layers for kind in kinds) * slots
            for part in ("k", "v", "index")
        )
        count = sum(kind.layers for kind in kinds)
        yield Cache(name=name, type="attention", layers=count, cells=tokens, k_bytes=k,
                    v_bytes=v or None, bytes=k + v)  # fmt: skip
        if index:
            owners = sum(kind.layers for kind in kinds if kind.index)
            yield Cache(name="index keys", type="indexer", layers=owners, cells=tokens,
                        k_bytes=index, bytes=index)  # fmt: skip
    if layers.draft_layers:
        k, v = (part * (sizes.tokens + page) for part in layers.draft_kept)
        yield Cache(name="draft", type="attention", layers=layers.draft_layers, cells=sizes.tokens,
                    k_bytes=k, v_bytes=v or None, bytes=k + v)  # fmt: skip
    if sizes.slots is not None:
        yield from state_caches(layers, sizes.slots)


def _rules(layers: Layers, sizes: _Sizes, page: int, request: SglangFlags) -> Iterator[str]:
    yield (
        f"{page} token(s) a page; buffers of tokens + {page} slots (MHATokenToKVPool._create_buffers)"
    )
    if layers.window and layers.full:
        yield (
            f"{layers.full:,} bytes a token in the full pool + {float(_ratio(layers, request)):g} * "
            f"{layers.window:,} in the window pool (HybridSWAPoolConfigurator)"
        )
    elif layers.full:
        yield f"cell_size {layers.full:,} bytes (DefaultPoolConfigurator._compute_cell_size)"
    if layers.draft_layers:
        yield f"{layers.draft_layers} draft layer(s) are billed {layers.draft:,} bytes of a token"
    if sizes.slots is not None:
        yield (
            f"{sizes.slots.count} states of {layers.state_bytes:,} bytes and one for padding "
            "(KVCacheConfigurator._handle_max_mamba_cache)"
        )


def _notes(layers: Layers, request: SglangFlags) -> Iterator[str]:
    if layers.state_bytes and request.tokens is not None and request.max_num_seqs is None:
        yield (
            f"each state takes {layers.state_bytes:,} bytes a rank; --max-num-seqs N says how many "
            "there are (what the log calls max_mamba_cache_size)"
        )
    yield from layers.notes


def _too_long(spec: ModelSpec, request: SglangFlags, pool: Pool) -> Iterator[str]:
    """The server starts, and says so in a warning (managers/tp_worker.py, max_req_len)."""
    longest = request.max_model_len or spec.max_position_embeddings
    if longest is not None and pool.tokens is not None and pool.tokens < longest:
        yield (
            f"SGLang starts, and refuses or cuts requests of more than {pool.tokens - 1:,} tokens, as "
            f"the pool holds fewer than the {longest:,} of a full-length one: give --context-length "
            f"{pool.tokens} or less, a larger --mem-fraction-static, or more devices"
        )


def _waste(layers: Layers, sizes: _Sizes, page: int, request: SglangFlags) -> Iterator[Waste]:
    dump = changed(sizes, tokens=0, window_tokens=0, slots=None)
    yield Waste(
        cause="dump page",
        bytes=sum(cache.bytes for cache in _caches(layers, dump, page)),
        why=f"each pool has a page of {page} token(s) for what is thrown away",
    )
    if layers.replicated:
        yield Waste(
            cause="copies of KV heads",
            bytes=layers.replicated * sizes.tokens,
            why=f"fewer KV heads than {request.layout.tensor} ranks: each rank keeps a whole one",
        )
    if layers.shared:
        yield Waste(
            cause="slots of layers that share K and V",
            bytes=layers.shared * sizes.tokens,
            why="the pools span every layer, also those that read another's cache",
        )
    if sizes.slots is not None:
        yield Waste(
            cause="padding state",
            bytes=layers.state_bytes,
            why="one slot of the state pool is never a request's",
        )
