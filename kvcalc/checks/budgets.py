"""``budgets:`` fails CI when a change to a spec makes a workload outgrow its memory."""

from collections.abc import Iterator

from kvcalc.checks.budget_language import needless_fields
from kvcalc.convert.seen import with_media
from kvcalc.errors import KvcalcError
from kvcalc.media.asked import MediaWords
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.needless import needless
from kvcalc.memory.weights import weight_bytes
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.model import Budget, ModelSpec
from kvcalc.units import format_bytes

Finding = tuple[str, str, str]


def budget_findings(spec: ModelSpec) -> Iterator[Finding]:
    """KV401 for each budget that is exceeded, KV402 for each that cannot be computed, KV403 for
    fields that decide nothing."""
    for index, budget in enumerate(spec.budgets):
        where = f"budgets[{index}]"
        if budget.cache is None and budget.weights is None and budget.total is None:
            yield "KV402", where, "say what may not be exceeded: cache, weights or total"
            continue
        held = budget.cache is not None or budget.total is not None
        if held and not budget.context and not budget.encoder_context:
            yield "KV402", where, "say how many tokens: context"
            continue
        for name, message in (*needless_fields(budget), *_of_nothing(spec, budget)):
            yield "KV403", f"{where}.{name}", message
        try:
            yield from exceeded(spec, budget, where)
        except KvcalcError as error:
            yield "KV402", where, error.message


def _of_nothing(spec: ModelSpec, budget: Budget) -> Iterator[tuple[str, str]]:
    """(field, message) of what is asked and decides nothing of this model."""
    for said in needless(spec, asked_of(budget)):
        option, _, why = said.partition(" ")
        yield option.removeprefix("--").replace("-", "_"), why


def asked_of(budget: Budget) -> Asked:
    """The workload that a budget is about, as far as it says it."""
    return Asked(
        context_tokens=budget.context,
        batch_size=budget.batch,
        encoder_tokens=budget.encoder_context or None,
        dtype=budget.dtype,
        kv_dtype=budget.kv_dtype,
        put=MediaWords(images=budget.images, audio=budget.audio, video=budget.video),
    )


def workload_of(spec: ModelSpec, asked: Asked) -> Workload:
    """The workload, media among it as the class's own processor counts them. Raises KvcalcError."""
    seen, _ = with_media(asked, spec, "")
    return choose_workload(spec, seen)[0]


def exceeded(spec: ModelSpec, budget: Budget, where: str) -> Iterator[Finding]:
    """KV401 for each limit of one budget that is exceeded. Raises KvcalcError by name."""
    workload = workload_of(spec, asked_of(budget))
    function = cache_function(spec, workload.cache)
    weights, _ = weight_bytes(spec, workload.dtype)
    cache = workload.num_sequences * _held(function, workload, workload.context_tokens)
    for name, limit, needed in (
        ("cache", budget.cache, cache),
        ("weights", budget.weights, weights),
        ("total", budget.total, weights + cache),
    ):
        if limit is None or needed <= limit:
            continue
        over = needed - limit
        message = (
            f"{needed} bytes ({format_bytes(needed)}) are needed, "
            f"{over} ({format_bytes(over)}) more than the budget of {limit} "
            f"({format_bytes(limit)})"
        )
        if name != "weights":
            room = limit - (weights if name == "total" else 0)
            message += f"; {_longest(function, workload, room)}"
        yield "KV401", f"{where}.{name}", message


def _held(function: CacheFunction, workload: Workload, tokens: int) -> int:
    """The most bytes of one sequence's cache at any length up to ``tokens``."""
    return function.most(tokens, workload.encoder_tokens)


def _longest(function: CacheFunction, workload: Workload, room: int) -> str:
    """The longest context whose cache fits into ``room``, in words. The one asked for does not."""
    batch = workload.num_sequences
    if room < 0:
        return "the weights alone exceed it"
    fits, exceeds = 0, workload.context_tokens
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if batch * _held(function, workload, middle) <= room:
            fits = middle
        else:
            exceeds = middle
    sequences = f"{batch} sequence{'s' if batch > 1 else ''}"
    if fits:
        return f"{fits} tokens fit, with {sequences}"
    return f"not one token fits, with {sequences}"
