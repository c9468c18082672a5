"""A trial run on a device with the allocator's books read, and the same run traced without memory."""

from dataclasses import replace

import torch

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.proofs import Tensor
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.allocator import Allocator, TrackedCpu, rounded
from kvcalc.verify.backends import attention_backend
from kvcalc.verify.bench import Bench, Size, Trial, causal
from kvcalc.verify.build import on_meta
from kvcalc.verify.model import ModelCache, Place
from kvcalc.verify.places import as_tensor

# A recurrent layer is run token by token: beyond this its peak is extrapolated, not traced.
TRACED_TOKENS = 512


@frozen
class Peaks:
    """The most bytes beside weights and inputs: of the prefill and of a decode step.

    total: the most of all blocks, weights and inputs among them; 0 when not asked for.
    made_by: what lives at the prefill's peak, by the operation that made it, largest first.
    """

    prefill: int
    decode: int
    total: int = 0
    made_by: tuple[tuple[str, int], ...] = ()


@frozen
class Measured:
    """One trial's tensors with their blocks, what dropping them gave back, and the peaks."""

    kept: tuple[tuple[Place, str, Tensor, int], ...]
    requested: int
    allocated: int
    reserved: int
    peaks: Peaks


def measured(spec: ModelSpec, trial: Trial, size: Size, device: Allocator) -> Measured:
    """Run a trial on a device and read the allocator's books."""
    with device.watching(), torch.no_grad(), attention_backend(size.backend):
        bench = Bench(spec, trial, size, device.device)
        # Libraries that keep a workspace make it in the first pass, not in the one that is measured.
        warm = ModelCache()
        bench.run(warm, 0, min(2, size.tokens))
        del warm
        base = device.now()
        cache = ModelCache()
        cut = size.tokens - 1 if causal(spec) and size.tokens > 1 else size.tokens
        device.reset_peak()
        bench.run(cache, 0, cut)
        prefill = device.now().peak_requested - base.requested
        decode = 0
        if cut < size.tokens:
            device.reset_peak()
            bench.run(cache, cut, size.tokens)
            decode = device.now().peak_requested - base.requested
        kept = tuple(
            (place, name, as_tensor(tensor), device.block(tensor))
            for place, name, tensor in cache.tensors()
        )
        full = device.now()
        cache.states.clear()
        empty = device.now()
    return Measured(kept, full.requested - empty.requested, full.allocated - empty.allocated,
                    full.reserved, Peaks(prefill, decode))  # fmt: skip


def traced(spec: ModelSpec, trial: Trial, size: Size) -> Peaks:
    """The peaks of a trial as a trace on the meta device gives them, without any memory."""
    blocks = [spec.blocks[name] for name in on_meta(spec).names]
    recurrent = any(blocks[index].recurrent is not None for index in trial.layers)
    if not recurrent or size.tokens <= TRACED_TOKENS:
        return _traced(spec, trial, size)
    # A scan's peak is a straight line in the tokens.
    near = _traced(spec, trial, replace(size, tokens=TRACED_TOKENS // 2))
    far = _traced(spec, trial, replace(size, tokens=TRACED_TOKENS))
    steps = size.tokens - TRACED_TOKENS

    def on(low: int, high: int) -> int:
        return high + (high - low) * steps // (TRACED_TOKENS - TRACED_TOKENS // 2)

    if any(blocks[index].attention is not None for index in trial.layers):
        raise UnsupportedError(
            f"{trial.name}: attention beside a recurrent mixer is measured up to {TRACED_TOKENS} tokens"
        )
    return Peaks(on(near.prefill, far.prefill), on(near.decode, far.decode),
                 on(near.total, far.total), far.made_by)  # fmt: skip


def _traced(spec: ModelSpec, trial: Trial, size: Size) -> Peaks:
    books = TrackedCpu(device="meta")
    with books.watching(), torch.no_grad(), attention_backend(size.backend):
        bench = Bench(spec, trial, size, books.device)
        there = {id(tensor): tensor for tensor in bench.tensors()}.values()
        for tensor in there:
            books.take(tensor, "weight")
        base, blocks, before = books.requested, books.allocated, books.live.copy()
        kept = sum(rounded(tensor.untyped_storage().nbytes()) for tensor in there)
        cache = ModelCache()
        cut = size.tokens - 1 if causal(spec) and size.tokens > 1 else size.tokens
        books.reset_peak()
        bench.run(cache, 0, cut)
        prefill = books.peak_requested - base
        most = books.peak_allocated
        made = (books.at_peak - before).most_common()
        books.reset_peak()
        if cut < size.tokens:
            bench.run(cache, cut, size.tokens)
        decode = books.peak_requested - base if cut < size.tokens else 0
        most = max(most, books.peak_allocated)
    return Peaks(prefill, decode, kept + most - blocks, tuple(made))
