"""TensorRT-LLM: blocks of tokens from a share of the memory that is free after a dry run.

Rules, as read from TensorRT-LLM (tensorrt_llm/_torch/pyexecutor):

* a token takes, over a rank's layers, ceil(KV heads / tp) * head_dim * 2 elements; MLA one latent of
  kv_lora_rank + qk_rope_head_dim (SELFKONLY), whole on every rank (resource_manager.py,
  KVCacheManager.get_cache_bytes_per_token). fp4 has an fp8 scale per 16 elements beside it
  (calculate_scaling_factor_size_bytes); a DSA indexer 132 bytes a layer (DSACacheManager);
* tokens = free_gpu_memory_fraction (0.9, --memory-utilization) of the free memory that its log calls
  "available", or --tokens, whichever is less; blocks = ceil(tokens / tokens_per_block)
  (KVCacheManager.calculate_max_num_blocks; TrtGptModelInflightBatching). Since 1.2 the PyTorch
  backend rounds down: int(tokens // tokens_per_block); the sources of its first release candidates
  still say math.ceil. tokens_per_block is 32, 64 in older engines;
* windows: a pool per window size, each with an equal share of the memory, in whole blocks; a window
  is at most --max-model-len. 1.1 divides in single precision and rounds up (kvCacheManager.cpp,
  BaseKVCacheManager::calculateMaxNumBlocks), 1.2 rounds down (calculate_max_num_blocks_for_vswa).
  Before 1.1 shares followed the windows' sizes: refused. One pool of full layers without;
* states of hybrid models: a slot per request of the largest batch, --max-num-seqs, before the
  blocks (MambaCacheManager): convolutions in the model's format, the rest in its own;
* pipeline ranks hold numpy.array_split of the layers: the first ranks get one more
  (Mapping.pp_layers); all ranks take the least (allreduce MIN).
"""

from collections.abc import Iterator
from fractions import Fraction
from struct import pack, unpack

from kvcalc.engines.result import Cache, CapacityResult, LayerGroup, Pool, Waste
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.rank import (
    BLOCK_TOKENS,
    OfWindow,
    Rank,
    declared,
    dtypes_of,
    rank_of,
    stages_of,
)
from kvcalc.engines.tensorrt_llm.versions import VERSION
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.spec.model import ModelSpec

FREE_FRACTION = Fraction(9, 10)


def capacity(spec: ModelSpec, request: TensorrtLlmFlags) -> CapacityResult:
    """The block pools that TensorRT-LLM allocates on a rank.

    Raises UsageError for flags that make no sense, UnsupportedError for what is not accounted for.
    """
    if request.available is None and request.tokens is None:
        raise UsageError("give TensorRT-LLM's free memory (--available) or tokens (--tokens)")
    ranks = [rank_of(spec, request, stage) for stage in stages_of(spec, request.layout.pipeline)]
    rank = min(ranks, key=lambda one: _pools(one, request, None)[-1][2])
    pool = _pool(rank, request, request.available.bytes if request.available else None)
    span = None
    if request.available is not None and not request.available.exact:
        span = (
            _pool(rank, request, request.available.least),
            _pool(rank, request, request.available.most),
        )
    budget = request.available.bytes if request.available else None
    block = request.block_size or BLOCK_TOKENS
    pools = _pools(rank, request, budget)
    return CapacityResult(
        engine="tensorrt-llm",
        version=request.engine_version or VERSION,
        model=spec.name,
        pool=pool,
        pool_range=span,
        max_model_len=request.max_model_len,
        logical_bytes_per_request=None
        if request.max_model_len is None
        else cache_function(spec, dtypes_of(spec, request)[0]).most(request.max_model_len),
        groups=tuple(
            LayerGroup(mechanism=one.mechanism + ("" if size is None else f", window {size}"),
                       layers=one.layers, block_tokens=block,
                       page_bytes=one.token_bytes * block // one.layers)
            for size, one, _ in pools
        ),
        caches=tuple(_caches(rank, pools, request)),
        waste=tuple(_waste(rank, pool, request)),
        rules=tuple(_rules(rank, request)),
        notes=tuple(_notes(spec, rank, request)),
    )  # fmt: skip


def _version(request: TensorrtLlmFlags) -> tuple[int, int]:
    version = request.engine_version or VERSION
    try:
        major, minor = (int(part) for part in [*version.lstrip("v").split("."), "0"][:2])
    except ValueError:
        raise UsageError(f"--engine-version {version}: write it as 1.1") from None
    return major, minor


def _rounds_down(request: TensorrtLlmFlags) -> bool:
    """Whether this version's blocks are rounded down (PyTorch backend since 1.2)."""
    return _version(request) >= (1, 2)


def _single(value: float) -> float:
    """The nearest number of single precision."""
    return float(unpack("f", pack("f", value))[0])


def _window_tokens(memory: Fraction, pools: int, token_bytes: int, down: bool) -> Fraction:
    """Tokens of one of several pools: an equal share, which the C++ manager takes as a float."""
    if down:
        return memory / pools / token_bytes
    share = _single(_single(int(memory)) * _single(1 / pools))
    return Fraction(int(share / token_bytes))


def _pools(
    rank: Rank, request: TensorrtLlmFlags, budget: int | None
) -> list[tuple[int | None, OfWindow, int]]:
    """(window, layers, blocks) of each pool, widest window last."""
    block = request.block_size or BLOCK_TOKENS
    if budget is None and request.available is not None:
        budget = request.available.bytes
    down = _rounds_down(request)
    found: list[tuple[int | None, OfWindow, int]] = []
    order = sorted(rank.windows, key=lambda size: (size is None, size or 0))
    several = len(order) > 1
    if several and budget is not None and _version(request) < (1, 1):
        raise UnsupportedError(
            "before 1.1 TensorRT-LLM shared the memory among windows by their sizes, which is not "
            "accounted for; --tokens N gives the bytes of pools of N tokens"
        )
    for size in order:
        own = rank.windows[size]
        tokens: Fraction | None = None
        if budget is not None:
            fraction = request.memory_utilization or FREE_FRACTION
            states = (rank.conv + rank.state) * (request.max_num_seqs or 0)
            memory = max(Fraction(0), budget * fraction - states)
            tokens = memory / own.token_bytes
            if several:
                tokens = _window_tokens(memory, len(order), own.token_bytes, down)
        if request.tokens is not None and not (several and tokens is not None):
            tokens = (
                Fraction(request.tokens)
                if tokens is None
                else min(tokens, Fraction(request.tokens))
            )
        assert tokens is not None
        blocks = int(tokens // block) if down else -int(-tokens // block)
        found.append((size, own, blocks))
    return found


def _pool(rank: Rank, request: TensorrtLlmFlags, budget: int | None) -> Pool:
    block = request.block_size or BLOCK_TOKENS
    pools = _pools(rank, request, budget)
    _, own, blocks = pools[-1]
    total = sum(cache.bytes for cache in _caches(rank, pools, request))
    per_request = None
    if request.max_model_len is not None:
        per_request = -(-request.max_model_len // block)
    return Pool(
        available_bytes=request.available.bytes if request.available else None,
        block_tokens=block,
        bytes_per_block=own.token_bytes * block,
        num_blocks=blocks,
        tokens=blocks * block,
        blocks_per_request=per_request,
        max_concurrency=Fraction(blocks, per_request) if per_request else None,
        estimated_max_model_len=blocks * block,
        bytes=total,
    )


def _caches(
    rank: Rank, pools: list[tuple[int | None, OfWindow, int]], request: TensorrtLlmFlags
) -> Iterator[Cache]:
    block = request.block_size or BLOCK_TOKENS
    for size, own, blocks in pools:
        tokens = blocks * block
        name = "blocks" if size is None else f"blocks (window {size})"
        yield Cache(name=name, type="attention", layers=own.layers, window=size, cells=tokens,
                    k_bytes=own.k * tokens, v_bytes=own.v * tokens or None,
                    bytes=(own.k + own.v) * tokens)  # fmt: skip
        if own.index:
            yield Cache(name="index keys", type="indexer", layers=own.layers, cells=tokens,
                        k_bytes=own.index * tokens, bytes=own.index * tokens)  # fmt: skip
    if rank.state_layers and request.max_num_seqs:
        slots = request.max_num_seqs
        yield Cache(name="states", type="recurrent", layers=rank.state_layers, cells=slots,
                    r_bytes=rank.conv * slots, s_bytes=rank.state * slots,
                    bytes=(rank.conv + rank.state) * slots)  # fmt: skip


def _rules(rank: Rank, request: TensorrtLlmFlags) -> Iterator[str]:
    yield "ceil(KV heads / tp) heads on a rank (KVCacheManager.__init__)"
    if len(rank.windows) > 1:
        yield (
            f"{len(rank.windows)} window sizes, an equal share of the memory each, blocks rounded "
            + ("down (since 1.2)" if _rounds_down(request) else "up (1.1)")
        )
    else:
        rounding = "down (since 1.2)" if _rounds_down(request) else "up (until 1.1)"
        yield f"blocks rounded {rounding} (calculate_max_num_blocks)"
    if request.available is not None:
        fraction = request.memory_utilization or FREE_FRACTION
        yield f"free_gpu_memory_fraction {float(fraction):g} of the memory that is free"


def _notes(spec: ModelSpec, rank: Rank, request: TensorrtLlmFlags) -> Iterator[str]:
    ranks = request.layout.tensor
    for block in spec.blocks.values():
        heads = getattr(block.attention, "num_attention_heads", ranks)
        if heads % ranks:
            yield (
                f"TensorRT-LLM does not start: {ranks} ranks do not divide {heads} query heads "
                "(Attention.__init__)"
            )
            break
    if request.kv_dtype in (None, "auto") and (name := declared(spec)) is not None:
        yield f"auto is {name}, as the checkpoint declares for its cache (hf_quant_config.json)"
    if request.engine_version is None and (request.available or request.tokens):
        yield (
            f"no release is named: the rules of {VERSION}, which rounds blocks up; 1.2 rounds them down "
            "(--engine-version 1.2)"
        )
    if rank.state_layers and request.max_num_seqs is None:
        yield (
            f"each request's states take {rank.conv + rank.state:,} bytes beside the blocks; "
            "--max-num-seqs (max_batch_size) says for how many they are kept"
        )
    if request.available is not None and len(rank.windows) > 1 and not _rounds_down(request):
        yield (
            "an equal share for each window, as since pull request 6768; a build of 1.1 from before it "
            "shares by the windows' sizes"
        )
    if request.tokens is not None and request.available is not None and len(rank.windows) > 1:
        yield "--tokens is ignored where windows differ and the memory is given"


def _waste(rank: Rank, pool: Pool, request: TensorrtLlmFlags) -> Iterator[Waste]:
    tokens = pool.tokens or 0
    if rank.rounded_up > 0:
        yield Waste(
            cause="KV heads rounded up",
            bytes=rank.rounded_up * tokens,
            why=f"{request.layout.tensor} ranks do not divide the KV heads; each keeps whole ones",
        )
