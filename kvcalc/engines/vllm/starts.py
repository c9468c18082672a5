"""Whether vLLM's server starts, where that is not a matter of memory alone.

With full CUDA graphs each request of a decode batch needs a block of recurrent states, and the server
stops where it may run more requests than the pool has blocks (CompilationConfig.
resolve_cudagraph_mode_and_sizes, config/compilation.py: "max_num_seqs exceeds available Mamba cache
blocks"; read in 0.20.0 to 0.33.0, absent in 0.18.0).
"""

from kvcalc.engines.vllm.plan import Plan

# EngineArgs.get_batch_defaults: requests at once, by memory of the GPU.
_USUAL = ((256, "on GPUs below 70 GiB and A100"), (1024, "on larger ones"))


def refusal(plan: Plan, num_blocks: int, requests: int) -> str | None:
    """Why the server stops with that many requests at once, and what helps; None where it starts, and
    where there is no block: nothing fits then."""
    if not _counts(plan) or requests <= num_blocks or not num_blocks:
        return None
    return (
        f"vLLM does not start: {requests:,} requests at once (max_num_seqs) are more than the "
        f"{num_blocks:,} blocks that hold recurrent states, and full CUDA graphs need one for each: "
        f"give --max-num-seqs {num_blocks} or less, or --enforce-eager (config/compilation.py)"
    )


def where_it_stops(plan: Plan, num_blocks: int) -> tuple[str, ...]:
    """The same where the number of requests was not said."""
    if not _counts(plan):
        return ()
    usual = [f"{count:,} {gpus}" for count, gpus in _USUAL if count > num_blocks]
    if not usual:
        return ()
    return (
        f"vLLM does not start with more than {num_blocks:,} requests at once, as full CUDA graphs need "
        f"a block of recurrent states for each, and max_num_seqs is {', '.join(usual)} by itself: give "
        f"--max-num-seqs {num_blocks} or less, or --enforce-eager (config/compilation.py)",
    )


def _counts(plan: Plan) -> bool:
    return plan.rules.blocks_for_graphs and any(group.page.kind == "state" for group in plan.groups)
