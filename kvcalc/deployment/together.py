"""Several models on one device, or on the same equal ones: what each takes, what is left.

Each is in a server of its own, which stands on all of the devices alike (``--tp``, ``--pp``).

vLLM's ``--gpu-memory-utilization`` is of one instance: each takes the smallest whole percent with which
its own requests fit, and together they may take all of the device. An engine that has no such share
takes what its weights, caches and buffers are.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction

from kvcalc.deployment.answer import FitRequest, Verdict
from kvcalc.deployment.choice import Asked
from kvcalc.deployment.command import command, options_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.planner import Planner
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.shown import Shown


@frozen(kw_only=True)
class Part:
    """One model. num_bytes: of each device that it takes; None: more than all of it. weight_bytes: on
    all devices together.

    percent: of the device, where the engine is told a share. command: the line of ``kvcalc fit``
    that asks about it alone, with that share. context_tokens: of its requests, media counted.
    """

    model: str
    context_tokens: int
    dtype: str
    weight_bytes: int
    num_bytes: int | None
    percent: int | None = None
    command: str = ""


@frozen(kw_only=True)
class Together(Shown):
    """The answer. request: for the first model. free_bytes: what none takes, of each device; None where
    one does not fit alone."""

    device: Accelerator
    request: FitRequest
    version: str | None
    parts: tuple[Part, ...]
    verdict: Verdict
    free_bytes: int | None
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> object:
        shares = [(part.model, part.weight_bytes, part.num_bytes) for part in self.parts]
        return self.verdict, self.free_bytes, shares

    @property
    def fits(self) -> bool:
        """Whether it holds, be it tight."""
        return self.verdict != "does not fit"


def together(device: Accelerator, asked: Iterable[Asked], why: str) -> Together:
    """Each model as it was asked about, in the order of their names.

    Raises UsageError for replicas, and for several devices of an engine that places layers on each;
    UnsupportedError for an engine whose servers' shares are not known.
    """
    questions = list(asked)
    first = questions[0][2]
    record = first.record
    if first.layout.data > 1:
        raise UsageError("--together is of one server of each model: leave --dp out")
    if first.layout.devices > 1 and record.placed is not None:
        raise UsageError(
            f"--together of {record.words} is of one device: name one --gpu, and leave --tp and --pp out"
        )
    if first.utilization is not None:
        raise UsageError("--together finds each model's --memory-utilization: leave it out")
    record.check_device(device, first.engine_version)
    verdict: Verdict = "does not fit"
    for end, name in ((1, "fits"), (0, "tight")):
        parts = tuple(_part(device, one, end) for one in questions)
        free = _free(device, parts)
        if free is not None and free >= 0:
            verdict = "fits" if name == "fits" else "tight"
            break
    return Together(
        device=device, request=first, version=first.engine_version or record.version, parts=parts,
        verdict=verdict, free_bytes=free, why=why,
    )  # fmt: skip


def _free(device: Accelerator, parts: tuple[Part, ...]) -> int | None:
    """What is left; below zero where they take more than there is."""
    taken = [part.num_bytes for part in parts]
    if any(num_bytes is None for num_bytes in taken):
        return None
    return device.bytes - sum(num_bytes or 0 for num_bytes in taken)


def _part(device: Accelerator, asked: Asked, end: int) -> Part:
    """One model at one end of the band."""
    name, planner, request = asked
    record, workload = request.record, request.workload
    weights = planner.weight_bytes(workload.dtype)
    percent = None
    if record.placed is not None:
        placed = record.placed(planner.spec, device, workload, weights)
        taken: int | None = device.bytes - placed.free_bytes
    elif record.memory == "left" and record.share_of == "device" and record.schedules:
        planner.on(device, request).verdict()  # What is refused is said, not searched for.
        percent = _percent(device, planner, request, end)
        request = changed(request, utilization=None if percent is None else Fraction(percent, 100))
        taken = None if percent is None else planner.budget(device, request)
    elif record.takes is not None and not record.takes(request.engine_version):
        planner.on(device, request).verdict()
        taken = _least(device.bytes, lambda size: _alone(planner, device, request, size))
    else:
        raise UnsupportedError(
            f"{record.words}: what several of its servers take of one device is not known here; "
            "--engine vllm, llama.cpp, mlx or logical"
        )
    line = command(name, device, options_of(request, planner.spec.own_dtype))
    return Part(
        model=name, context_tokens=workload.context_tokens, dtype=workload.dtype,
        weight_bytes=weights, num_bytes=taken, percent=percent, command=line,
    )  # fmt: skip


def _alone(planner: Planner, device: Accelerator, request: FitRequest, size: int) -> bool:
    return planner.holds(changed(device, bytes=size), request)


def _percent(device: Accelerator, planner: Planner, request: FitRequest, end: int) -> int | None:
    return _least(
        100,
        lambda part: planner.holds(device, changed(request, utilization=Fraction(part, 100)), end),
    )


def _least(most: int, fits: Callable[[int], bool]) -> int | None:
    """The smallest number up to a limit that fits; None where the limit does not."""
    if not fits(most):
        return None
    below, least = 0, most
    while least - below > 1:
        middle = (below + least) // 2
        below, least = (below, middle) if fits(middle) else (middle, least)
    return least
