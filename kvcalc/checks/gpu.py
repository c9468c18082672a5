"""A policy's budgets that name a GPU: whether it holds the workload, alone or under an engine."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING

from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.estimate import answer
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes, format_tokens

if TYPE_CHECKING:
    from kvcalc.checks.policy import PolicyBudget
    from kvcalc.deployment.fit import FitRequest
    from kvcalc.deployment.hardware import Accelerator

Finding = tuple[str, str, str]


def gpu_findings(
    spec: ModelSpec, budget: "PolicyBudget", workload: Workload, where: str
) -> Iterator[Finding]:
    """KV401 when the GPUs of a budget do not hold its workload.

    gpu_memory alone: the share of weights and cache of the fullest GPU, to the byte. gpu: as
    ``kvcalc fit`` has it, with what an engine takes besides. engine: as ``kvcalc capacity`` has it,
    in that engine's pages. Raises KvcalcError for what cannot be computed.
    """
    if budget.gpu is None and budget.engine is None:
        if budget.gpu_memory is not None:
            yield from _beyond_memory(spec, workload, int(budget.gpu_memory), where)
        return
    from kvcalc.deployment.fit import FitRequest
    from kvcalc.deployment.hardware import find, of_size
    from kvcalc.deployment.parallelism import Layout

    device = find(budget.gpu) if budget.gpu is not None else of_size(f"{budget.gpu_memory}B")
    request = FitRequest(
        context_tokens=workload.context_tokens,
        batch_size=workload.batch_size,
        encoder_tokens=workload.encoder_tokens,
        dtype=workload.dtype,
        cache=workload.cache,
        layout=Layout(workload.tensor, workload.pipeline),
        utilization=budget.memory_utilization or Fraction(9, 10),
    )
    if budget.engine is None:
        yield from _does_not_fit(spec, device, request, f"{where}.gpu")
    else:
        yield from _under_engine(spec, budget, device, request, f"{where}.engine")


def _beyond_memory(
    spec: ModelSpec, workload: Workload, memory: int, where: str
) -> Iterator[Finding]:
    result = answer(spec, workload)
    shares = zip(result.weight_bytes_per_device, result.cache.per_device_bytes, strict=True)
    weights, cache = max(shares, key=sum)
    over = weights + cache - memory
    if over > 0:
        gpus = workload.tensor * workload.pipeline
        message = (
            f"{weights + cache} bytes ({format_bytes(weights)} of weights, {format_bytes(cache)} "
            f"of cache) are needed on {'the' if gpus == 1 else f'each of {gpus}'} "
            f"GPU{'s' if gpus > 1 else ''}, {over} ({format_bytes(over)}) more than it has"
        )
        yield "KV401", f"{where}.gpu_memory", message


def _does_not_fit(
    spec: ModelSpec, device: "Accelerator", request: "FitRequest", where: str
) -> Iterator[Finding]:
    from kvcalc.deployment.fit import Planner

    planner = Planner(spec)
    devices = planner.devices(device, request)
    if planner.verdict(devices) != "does not fit":
        return
    more = _more_ranks(request, lambda other: planner.holds(device, other))
    fullest = max(devices, key=lambda one: one.cache_bytes - one.free)
    besides = sum(item.bytes for item in fullest.overheads)
    beside = f"{format_bytes(fullest.weight_bytes)} of weights and {format_bytes(besides)} besides"
    if fullest.free <= 0:
        message = f"{_on(device, request)}: {beside} leave nothing for the cache"
    else:
        message = (
            f"{_on(device, request)}: {format_bytes(fullest.cache_bytes)} of cache are needed and "
            f"{format_bytes(fullest.free)} are left by {beside}; "
            f"{planner.largest_batch(devices, request)} of {request.batch_size} sequences of "
            f"{format_tokens(request.context_tokens)} tokens fit"
        )
    yield "KV401", where, message + more


def _under_engine(
    spec: ModelSpec,
    budget: "PolicyBudget",
    device: "Accelerator",
    request: "FitRequest",
    where: str,
) -> Iterator[Finding]:
    from kvcalc.engines import ENGINES

    words = ENGINES[budget.engine or ""][1]
    memory, held = _sequences(spec, budget, device, request)
    if held >= request.batch_size:
        return
    if memory <= 0:
        message = f"{words} on {_on(device, request)}: the weights leave nothing for the cache"
    else:
        whole, hundredths = divmod(int(held * 100), 100)
        message = (
            f"{words} on {_on(device, request)} holds {whole}.{hundredths:02d} sequences of "
            f"{format_tokens(request.context_tokens)} tokens, not {request.batch_size}, in the "
            f"{format_bytes(memory)} that weights and the engine leave"
        )
    yield (
        "KV401",
        where,
        message
        + _more_ranks(
            request, lambda other: _sequences(spec, budget, device, other)[1] >= request.batch_size
        ),
    )


def _sequences(
    spec: ModelSpec, budget: "PolicyBudget", device: "Accelerator", request: "FitRequest"
) -> tuple[int, Fraction]:
    """(the memory that an engine has for its cache, how many of the sequences it holds at once)."""
    from kvcalc.deployment.fit import memory_for_cache
    from kvcalc.engines import ENGINES
    from kvcalc.engines.request import Available, CapacityRequest

    engine = budget.engine or ""
    module, words = ENGINES[engine]
    value, least, most = memory_for_cache(spec, device, replace(request, context_tokens=0), engine)
    if most <= 0:
        return value, Fraction(0)
    # Engines call the format of the activations 'auto'.
    kv_dtype = None if budget.kv_dtype == "bf16" else budget.kv_dtype
    question = CapacityRequest(
        available=Available(*(max(0, each) for each in (value, least, most))),
        max_model_len=request.context_tokens,
        encoder_tokens=request.encoder_tokens or None,
        kv_dtype=kv_dtype,
        tensor_parallel=request.layout.tensor,
        pipeline_parallel=request.layout.pipeline,
        memory_utilization=budget.memory_utilization if engine == "tensorrt-llm" else None,
    )
    loaded = import_module(module)
    question.only(words, loaded.FLAGS)
    one = cache_function(spec, request.cache).most(request.context_tokens, request.encoder_tokens)
    try:
        pool = loaded.capacity(spec, question).pool
    except UsageError:
        # An engine that has no room for a single block stops; that is an answer here.
        if most * request.layout.devices >= one:
            raise
        return value, Fraction(0)
    held: Fraction | None = pool.max_concurrency
    if held is None and pool.tokens is not None:
        held = Fraction(pool.tokens, request.context_tokens)
    if held is None and not one:
        # Encoders keep nothing: where the weights fit, so does any batch.
        return value, Fraction(request.batch_size)
    if held is None:
        raise UnsupportedError(f"{words} does not say how many sequences of {spec.name} it holds")
    return value, held


def _more_ranks(request: "FitRequest", holds: Callable[["FitRequest"], bool]) -> str:
    """``; tp: 4 would do`` for the fewest ranks of one machine that would; or nothing."""
    for ranks in (2, 4, 8):
        if ranks > request.layout.tensor:
            with suppress(KvcalcError):
                if holds(replace(request, layout=replace(request.layout, tensor=ranks))):
                    return f"; tp: {ranks} would do"
    return ""


def _on(device: "Accelerator", request: "FitRequest") -> str:
    """``h100-80gb`` or ``each of 4 h100-80gb``."""
    name = device.name if device.vendor else f"a GPU of {format_bytes(device.bytes)}"
    count = request.layout.tensor * request.layout.pipeline
    return name if count == 1 else f"each of {count} x {name}"
