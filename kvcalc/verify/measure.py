"""A model at true size on a device, measured by the device's allocator: ``verify --device cuda``.

*requested*  what each cached tensor asked for, and what the allocator says was given back when the
             cache was dropped: the formula's bytes exactly;
*allocated*  the blocks that hold them, each explained, and their sum exactly;
*peak*       the most that lived during the prefill and during one decode step, against a trace of
             the same pass on the meta device, within 2 %; the calculator's workspace item is named
             in it, and so is the rest.

The whole model is measured when it fits. Otherwise one layer of each kind is, alone on the device,
with its neighbours left on the meta device: no weight of theirs is ever made.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import KvcalcError, UnsupportedError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.weights import weight_bytes
from kvcalc.proofs import Verification
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes
from kvcalc.verify.allocator import Allocator, CudaAllocator
from kvcalc.verify.bench import Size, Trial
from kvcalc.verify.build import on_meta
from kvcalc.verify.model import ReferenceModel
from kvcalc.verify.prove.device import prove_allocated, prove_peak, prove_requested
from kvcalc.verify.readings import measured, traced

Say = Callable[[str], None]


class OutOfMemoryError(KvcalcError):
    """The device is too small for the workload; the message says what would fit."""


def verify(
    spec: ModelSpec, context: int, batch: int, backend: str = "eager",
    allocator: Allocator | None = None, say: Say = lambda text: None,
) -> Verification:  # fmt: skip
    """Measure a model at its true dimensions.

    allocator: the device; the current CUDA device without one. Raises NotFoundError where there is
    none, OutOfMemoryError with the sizes that would fit, UnsupportedError for what cannot be run.
    """
    started = time.monotonic()
    device = CudaAllocator() if allocator is None else allocator
    if spec.recursion is not None:
        raise UnsupportedError(f"{spec.name}: a recursion routes by values, which are random here")
    encoder = spec.encoder
    size = Size(context, batch, 0 if encoder is None else encoder.tokens or context, backend)
    device.release()
    model = on_meta(spec)
    trials = trials_of(spec, model, size, device.free_bytes())
    found = []
    try:
        for trial in trials:
            say(f"{spec.name}: {trial.name}, {context} tokens, batch {batch}, {backend}")
            expected = traced(spec, trial, size)
            if expected.total > device.free_bytes():
                raise torch.OutOfMemoryError(trial.name)
            found.append((trial, expected, measured(spec, trial, size, device)))
    except torch.OutOfMemoryError as error:
        # The traceback holds on to every tensor of the run.
        error.__traceback__ = None
        device.release()
        raise OutOfMemoryError(_too_large(spec, trials, size, device)) from None
    finally:
        device.release()
    proofs = (
        prove_requested(spec, found, size),
        prove_allocated(found),
        prove_peak(spec, found, size),
    )
    layers = "the whole model" if trials[0].whole else (
        "one layer of each kind, alone: " + ", ".join(f"{t.name} ({t.count})" for t in trials)
    )  # fmt: skip
    return Verification(
        model=spec.name, source=spec.source, device=device.name, against="reference",
        torch_version=torch.__version__, proofs=proofs,
        plan=f"{layers}; {context} tokens, batch {batch}, {backend} attention; "
             f"{format_bytes(sum(m.reserved for _, _, m in found[-1:]))} reserved (information)",
        seconds=round(time.monotonic() - started),
    )  # fmt: skip


def trials_of(spec: ModelSpec, model: ReferenceModel, size: Size, free: int) -> tuple[Trial, ...]:
    """The whole model where it fits and has no recurrent layers, else a layer of each kind.

    Recurrent layers are run token by token, which for a whole stack would take minutes.
    """
    everything = tuple(range(len(model.layers)))
    whole = Trial("the whole model", everything, len(everything), whole=True)
    recurrent = any(block.recurrent is not None for block in spec.blocks.values())
    least = weight_bytes(spec, "bf16")[0] + size.batch * cache_function(spec, CacheDtypes()).at(
        size.tokens, size.encoder_tokens
    )
    if not recurrent and least <= free and traced(spec, whole, size).total <= free:
        return (whole,)
    trials: dict[str, Trial] = {}
    for index, name in enumerate(model.names):
        if name in trials:
            trials[name] = replace(trials[name], count=trials[name].count + 1)
            continue
        layers: tuple[int, ...] = (index,)
        source = getattr(spec.blocks[name].attention, "shared_kv", None)
        if source is not None:
            layers = (max(i for i in range(index) if model.names[i] == source), index)
        trials[name] = Trial(f"layer {index} ({name})", layers, 1)
    return tuple(trials.values())


def _too_large(spec: ModelSpec, trials: tuple[Trial, ...], size: Size, device: Allocator) -> str:
    """What is needed, what there is, and what would fit."""
    free = device.free_bytes()

    def need(tokens: int, batch: int, backend: str) -> int:
        at = Size(tokens, batch, min(size.encoder_tokens, max(tokens, 1)), backend)
        return max(traced(spec, trial, at).total for trial in trials)

    fits = []
    tokens = _most(size.tokens - 1, lambda n: need(n, size.batch, size.backend) <= free)
    if tokens:
        fits.append(f"--context {tokens}")
    batch = _most(size.batch - 1, lambda n: need(size.tokens, n, size.backend) <= free)
    if batch:
        fits.append(f"--batch {batch}")
    if size.backend == "eager" and need(size.tokens, size.batch, "sdpa") <= free:
        fits.append("--attention-backend sdpa")
    return (
        f"{spec.name}: {size.tokens} tokens, batch {size.batch}, {size.backend} attention need "
        f"{format_bytes(need(size.tokens, size.batch, size.backend))}, and {device.name} has "
        f"{format_bytes(free)} free; "
        + (f"what would fit: {', or '.join(fits)}" if fits else "not even one token fits")
    )


def _most(high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``high`` that fits; 0 when none does."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
