"""How many blocks lmdeploy's PyTorch engine makes of the free memory, release 0.18.0.

pytorch/engine/executor/base.py, update_configs: of what is free go first the states of max_batch_size + 2
requests, then (tokens of a step + 2 * max_batch_size) * vocabulary * 2 bytes; blocks are what
cache_max_entry_count (0.8) of the rest holds, rounded down. Where that leaves fewer than 16, the step
is halved. One block is for padding.
"""

from fractions import Fraction

from kvcalc.engines import pages
from kvcalc.engines.lmdeploy.block import BLOCK, block_bytes, kept_of, slot_bytes
from kvcalc.engines.lmdeploy.flags import LmdeployFlags
from kvcalc.engines.lmdeploy.models import RELEASE
from kvcalc.engines.pages import Kept
from kvcalc.engines.result import Cache, CapacityResult, Pool
from kvcalc.errors import UsageError
from kvcalc.spec.model import ModelSpec

STEP, SHARE, LEAST, RESERVED = 8192, Fraction(4, 5), 16, 1


def capacity(spec: ModelSpec, request: LmdeployFlags) -> CapacityResult:
    """The blocks of a free memory. Raises UsageError where nothing says it, or it holds too few."""
    kept = kept_of(spec, request)
    memory, batch = request.available, request.max_num_seqs
    if memory is None:
        raise UsageError("say how much memory is free beside the weights: --available SIZE")
    if batch is None:
        raise UsageError(
            "say --max-num-seqs (max_batch_size): lmdeploy takes 1,024 on H100, H200 and H800, 384 on A100 "
            "and A800, 128 on other GPUs (get_max_batch_size)"
        )
    block = request.block_size or BLOCK
    size, states = block_bytes(kept, block), slot_bytes(kept) * (batch + 2)
    step, blocks = _blocks(spec, request, memory.bytes - states, size, batch)
    longest = request.max_model_len or spec.max_position_embeddings
    each = -(-longest // block) if longest else None
    return CapacityResult(
        engine="lmdeploy",
        version=RELEASE,
        model=spec.name,
        pool=Pool(
            available_bytes=memory.bytes,
            block_tokens=block,
            bytes_per_block=size,
            num_blocks=blocks,
            tokens=blocks * block,
            max_concurrency=Fraction(min(batch, (blocks - RESERVED) // each)) if each else None,
            blocks_per_request=each,
            bytes_per_request=each * size if each else None,
            estimated_max_model_len=(blocks - RESERVED) * block,
            bytes=blocks * size + states,
        ),
        max_model_len=longest,
        logical_bytes_per_request=pages.need(spec, longest),
        groups=pages.paged(kept, block),
        caches=_states(kept, batch + 2),
        rules=(
            f"blocks of {block} tokens of all layers (CacheEngine)",
            f"{float(request.memory_utilization or SHARE):g} of what a step of {step:,} tokens and the "
            "states leave (cache_max_entry_count)",
        ),
        notes=(
            "lmdeploy's PyTorch engine (--backend pytorch): TurboMind's blocks are not accounted for",
            "--available is what is free when the weights are loaded; one block is for padding",
        ),
    )  # fmt: skip


def _blocks(
    spec: ModelSpec, request: LmdeployFlags, free: int, size: int, batch: int
) -> tuple[int, int]:
    """(tokens of a step, blocks)."""
    share = request.memory_utilization or SHARE
    step = request.max_num_batched_tokens or STEP
    while step:
        left = int((free - (step + 2 * batch) * (spec.vocab_size or 0) * 2) * share)
        blocks = left // size
        if blocks <= 2:
            raise UsageError(
                f"{request.available} does not do: a step of {step:,} tokens leaves {max(0, left):,} bytes "
                f"for blocks of {size:,}: fewer with --max-num-batched-tokens or --max-num-seqs"
            )
        if blocks >= LEAST:
            break
        step //= 2
    return step, blocks


def _states(kept: tuple[Kept, ...], slots: int) -> tuple[Cache, ...]:
    return tuple(
        Cache(name=f"states of {one.block}", type="recurrent", layers=len(one.layers), cells=slots,
              bytes=slots * one.row_bytes * len(one.layers))
        for one in kept if one.once
    )  # fmt: skip
