"""vLLM: one pool of equal blocks, sized by the fullest rank, shared by groups of layers.

    num_blocks = min over workers of available // bytes_per_block        (get_kv_cache_configs)
    concurrency = num_blocks / sum over groups of blocks of one request  (get_max_concurrency_...)
    "GPU KV cache size" = int(concurrency * max_model_len) since 0.20.1; before,
        num_blocks // number of groups * smallest block * dcp            (get_kv_cache_capacity)
    "KV cache is needed" = bytes_per_block * blocks of one request       (_max_memory_usage_bytes_...)
    "estimated maximum model length": the longest request, at most max_model_len, whose need fits

The parts: pages.py (bytes of a layer's block), stack.py (block sizes, draft layers, pipeline
stages), groups.py (which layers share blocks), blocks.py (blocks of one request), deepseek_v4.py,
formats.py (KV formats), versions.py (which version follows which rule), waste.py (what is lost).
Read from the sources of vLLM 0.8.5 to 0.33.0.

Worked number: Gemma-3-27B, max_model_len 4096, one batch of 8192 in flight: 62 layers in 7 groups of
10, 8 of 70 slots padding; a block takes 10 * 16 * 16 * 2 * 128 * 2 bytes, a request 256 + 6 * 257
blocks. 109.86 GiB are 90,000 blocks: 205,696 tokens in the log of 0.10, concurrency 50.05.
"""

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.engines.vllm.starts import refusal, where_it_stops
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec


def capacity(spec: ModelSpec, request: VllmFlags) -> CapacityResult:
    """What vLLM will print for this model, these flags and this memory.

    Raises UsageError for flags that make no sense and UnsupportedError for models, layouts and
    formats that vLLM refuses.
    """
    if request.available is None:
        raise UsageError("vLLM's pool is what memory is left: give --available")
    plan = Plan(spec, request)
    memory = request.available
    pool, span = plan.pool(memory.bytes), _range(plan, memory)
    return CapacityResult(
        engine="vllm",
        version=plan.rules.version,
        model=spec.name,
        pool=pool,
        pool_range=span,
        max_model_len=plan.max_model_len,
        logical_bytes_per_request=plan.logical_bytes() if plan.groups else None,
        groups=plan.groups_shown(),
        waste=plan.waste(pool),
        rules=plan.rules_applied,
        notes=(
            *plan.notes,
            *_other_kernel(spec, request, plan),
            *_notes(plan, memory, pool, span),
            *_starts(plan, request, pool),
        ),
    )


def _other_kernel(spec: ModelSpec, request: VllmFlags, plan: Plan) -> tuple[str, ...]:
    """What the pool is where FlashInfer prefills delta networks, of a GPU that was not named."""
    if request.compute_capability is not None or not plan.stack.may_checkpoint:
        return ()
    assert request.available is not None
    try:
        other = Plan(spec, changed(request, compute_capability=90)).pool(request.available.bytes)
        answer = (
            f"{other.num_blocks:,} blocks of {other.block_tokens} tokens, {other.tokens:,} tokens"
        )
    except UsageError:
        answer = "not one block"
    return (
        "for GPUs where Triton prefills delta networks (Ampere, Ada); where FlashInfer does (Hopper, "
        f"Blackwell with CUDA 13): {answer}; --gpu says which",
    )


def _starts(plan: Plan, request: VllmFlags, pool: Pool) -> tuple[str, ...]:
    """Whether the server starts with as many requests at once as were asked for."""
    if pool.num_blocks is None or request.eager:
        return ()
    if request.max_num_seqs is None:
        return where_it_stops(plan, pool.num_blocks)
    said = refusal(plan, pool.num_blocks, request.max_num_seqs)
    return () if said is None else (said,)


def _stops(plan: Plan, pool: Pool) -> bool:
    """Whether a request of max_model_len does not fit; with the null block that a check sets aside, one
    that has just its blocks does not."""
    if pool.max_concurrency is None:
        return False
    longest = pool.estimated_max_model_len
    return pool.max_concurrency < 1 or (longest is not None and longest < plan.max_model_len)


def _not_one(plan: Plan, memory: Available, pool: Pool) -> str:
    """vLLM's refusal, and what helps (_check_enough_kv_cache_memory)."""
    null = (pool.bytes_per_block or 0) if plan.rules.null_block_in_check else 0
    lacking = (pool.bytes_per_request or 0) + null - memory.bytes
    longest = pool.estimated_max_model_len
    said = "not one request of max_model_len fits: vLLM stops with the estimate above"
    ways = [f"--max-model-len {longest} or less"] if longest else []
    if lacking > 0:
        ways.append(f"{lacking:,} bytes more")
    return f"{said}; give {' or '.join(ways)}" if ways else said


def _range(plan: Plan, memory: Available) -> tuple[Pool, Pool] | None:
    """The pools at both ends of a rounded figure, where they differ."""
    if memory.exact:
        return None
    least, most = plan.pool(memory.least), plan.pool(memory.most)
    differ = (least.num_blocks, least.estimated_max_model_len) != (
        most.num_blocks, most.estimated_max_model_len
    )  # fmt: skip
    return (least, most) if differ else None


def _notes(
    plan: Plan, memory: Available, pool: Pool, span: tuple[Pool, Pool] | None
) -> tuple[str, ...]:
    notes = []
    if pool.num_blocks is None:
        notes.append("this model keeps no cache, so there is no pool")
    elif _stops(plan, pool):
        notes.append(_not_one(plan, memory, pool))
    if span is not None:
        notes.append(
            f"the memory is known to lie in {memory.least:,} to {memory.most:,} bytes; the answer "
            f"is for {memory.bytes:,}, the range stands beside it"
        )
    return tuple(notes)
