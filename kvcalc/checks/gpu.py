"""A policy's budgets that name a GPU: whether it holds the workload, as ``kvcalc fit`` answers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from kvcalc.errors import UnsupportedError
from kvcalc.memory.estimate import answer
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes, format_tokens

if TYPE_CHECKING:
    from kvcalc.checks.budget_language import PolicyBudget
    from kvcalc.deployment.answer import FitRequest
    from kvcalc.deployment.hardware import Accelerator
    from kvcalc.deployment.planner import Planner

Finding = tuple[str, str, str]


def gpu_findings(
    spec: ModelSpec, budget: "PolicyBudget", workload: Workload, where: str
) -> Iterator[Finding]:
    """KV401 when the GPUs of a budget do not hold its workload.

    gpu_memory alone: the share of weights and cache of the fullest GPU, to the byte. Else the verdict
    of ``kvcalc fit`` with the same options: in vLLM's pages, or those of ``engine``. Raises
    KvcalcError for what cannot be computed.
    """
    if budget.gpu is None and budget.engine is None:
        if budget.gpu_memory is not None:
            yield from _beyond_memory(spec, workload, int(budget.gpu_memory), where)
        return
    from kvcalc.deployment.answer import FitRequest
    from kvcalc.deployment.hardware import find, of_size
    from kvcalc.deployment.planner import Planner
    from kvcalc.engines import SERVING

    device = find(budget.gpu) if budget.gpu is not None else of_size(f"{budget.gpu_memory}B")
    request = FitRequest(
        workload=workload,
        engine=budget.engine or SERVING,
        utilization=budget.memory_utilization,
    )
    planner = Planner(spec)
    if planner.on(device, request).verdict() != "does not fit":
        return
    if budget.engine is None:
        message = _does_not_fit(planner, device, request)
        where += ".gpu"
    else:
        message = _under_engine(planner, device, request)
        where += ".engine"
    yield "KV401", where, message + _more_ranks(planner, device, request)


def _beyond_memory(
    spec: ModelSpec, workload: Workload, memory: int, where: str
) -> Iterator[Finding]:
    result = answer(spec, workload)
    shares = zip(result.weight_bytes_per_device, result.cache.per_device_bytes, strict=True)
    weights, cache = max(shares, key=sum)
    over = weights + cache - memory
    if over > 0:
        gpus = workload.layout.tensor * workload.layout.pipeline
        message = (
            f"{weights + cache} bytes ({format_bytes(weights)} of weights, {format_bytes(cache)} "
            f"of cache) are needed on {'the' if gpus == 1 else f'each of {gpus}'} "
            f"GPU{'s' if gpus > 1 else ''}, {over} ({format_bytes(over)}) more than it has"
        )
        yield "KV401", f"{where}.gpu_memory", message


def _does_not_fit(planner: "Planner", device: "Accelerator", request: "FitRequest") -> str:
    here = planner.on(device, request)
    fullest = min(here.devices(), key=lambda one: one.free)
    besides = sum(item.bytes for item in fullest.overheads)
    beside = f"{format_bytes(fullest.weight_bytes)} of weights and {format_bytes(besides)} besides"
    if fullest.free <= 0:
        return f"{_on(device, request)}: {beside} leave nothing for the cache"
    return (
        f"{_on(device, request)}: {format_bytes(fullest.reserved_bytes)} of cache are needed and "
        f"{format_bytes(fullest.free)} are left by {beside}; "
        f"{here.largest_batch()} of {request.workload.batch_size} sequences of "
        f"{format_tokens(request.workload.context_tokens)} tokens fit"
    )


def _under_engine(planner: "Planner", device: "Accelerator", request: "FitRequest") -> str:
    here = planner.on(device, request)
    memory = here.memory()[0]
    on = f"{request.engine_words} on {_on(device, request)}"
    if memory <= 0:
        return f"{on}: the weights leave nothing for the cache"
    asked = request.workload
    held = here.rules.concurrency(memory, asked.context_tokens, request.sequences)
    if held is None:
        raise UnsupportedError(f"{request.engine_words} does not say how many sequences it holds")
    whole, hundredths = divmod(int(held * 100), 100)
    return (
        f"{on} holds {whole}.{hundredths:02d} sequences of {format_tokens(asked.context_tokens)} "
        f"tokens, not {asked.batch_size}, in the {format_bytes(memory)} that weights and the "
        "engine leave"
    )


def _more_ranks(planner: "Planner", device: "Accelerator", request: "FitRequest") -> str:
    """``; tp: 4 would do`` for the fewest ranks of one machine that would; or nothing."""
    for ranks in range(2, 9):
        more = request.of(layout=replace(request.layout, tensor=ranks))
        if ranks > request.layout.tensor and planner.holds(device, more):
            return f"; tp: {ranks} would do"
    return ""


def _on(device: "Accelerator", request: "FitRequest") -> str:
    """``h100-80gb`` or ``each of 4 h100-80gb``."""
    name = device.name if device.vendor else f"a GPU of {format_bytes(device.bytes)}"
    count = request.layout.tensor * request.layout.pipeline
    return name if count == 1 else f"each of {count} x {name}"
