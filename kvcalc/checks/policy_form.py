"""What is wrong with a ``kvcalc.yaml`` itself, whatever the specs: said once, not per spec."""

from collections.abc import Callable, Iterator

from kvcalc.checks.budget_language import LIMITS, ComparedWorkload, Policy, PolicyBudget
from kvcalc.checks.quantities import parse_tolerances
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import ENGINES, engine_of
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.file_types import weight_word
from kvcalc.spec.words import near
from kvcalc.units import KIB, MIB

# (code, field, message)
Finding = tuple[str, str, str]


def incomplete(policy: Policy) -> Iterator[Finding]:
    """KV402 for budgets that say too little or too much, KV104 for tolerances that are none."""
    for index, budget in enumerate(policy.budgets):
        where = f"budgets[{index}]"
        for message in _contradictions(budget):
            yield "KV402", where, message
        if all(pattern.startswith("!") for pattern in budget.models):
            yield "KV402", f"{where}.models", "say which models: a name or a pattern"
        for name, message in (
            *_unknown_gpu(budget),
            *_unknown_engine(budget),
            *_unknown_formats(budget),
        ):
            yield "KV402", f"{where}.{name}", message
    for name, message in _unknown_formats(policy.workload):
        yield "KV402", f"workload.{name}", message
    for quantity, text in policy.tolerances.items():
        try:
            parse_tolerances({quantity: text})
        except KvcalcError as error:
            yield "KV104", f"tolerances.{quantity}", error.message


def _contradictions(budget: PolicyBudget) -> Iterator[str]:
    """What is wrong with a budget, whatever the model."""
    gpu = budget.gpu is not None or budget.gpu_memory is not None
    grows = budget.cache is not None or budget.total is not None or gpu
    fixed = (budget.weights, budget.parameters, budget.cache_per_token)
    if not grows and all(limit is None for limit in fixed):
        yield f"say what may not be exceeded: {', '.join(LIMITS[:-1])} or {LIMITS[-1]}"
    elif grows and not budget.context and (budget.engine or not budget.encoder_context):
        yield "say how many tokens: context"
    if budget.gpu is not None and budget.gpu_memory is not None:
        yield "give gpu or gpu_memory, not both"
    if budget.gpu_memory is not None and budget.gpu_memory < MIB:
        given = int(budget.gpu_memory)
        likely = given if 0 < given < KIB else 80
        yield f"gpu_memory: {given} bytes is no GPU's memory: write {likely}GiB, say"
    if not gpu and (budget.engine is not None or (budget.tp, budget.pp) != (1, 1)):
        yield "engine, tp and pp are about GPUs: give gpu or gpu_memory, too"
    elif budget.memory_utilization is not None and budget.gpu is None and budget.engine is None:
        yield "memory_utilization is an engine's: give gpu or engine, too"
    if budget.memory_utilization == 0:
        yield "memory_utilization is above 0"


def _unknown_gpu(budget: PolicyBudget) -> Iterator[tuple[str, str]]:
    """(field, message) for a GPU that there is not: said once, not per spec."""
    if budget.gpu is not None:
        from kvcalc.deployment.hardware import find

        try:
            find(budget.gpu)
        except KvcalcError as error:
            yield "gpu", error.message


def _unknown_engine(budget: PolicyBudget) -> Iterator[tuple[str, str]]:
    """(field, message) for an engine that there is not, or whose pages fill no GPU here."""
    if budget.engine is None:
        return
    known = gpu_engines()
    if budget.engine not in known:
        hint = near(budget.engine, known)
        yield "engine", f"'{budget.engine}' is none of: {', '.join(known)}{hint}"


def gpu_engines() -> list[str]:
    """The engines of which it is known what they take of a GPU beside their cache."""
    return [name for name in ENGINES if engine_of(name).takes is not None]


def _unknown_formats(workload: PolicyBudget | ComparedWorkload) -> Iterator[tuple[str, str]]:
    """(field, message) for a number format that there is not, likewise."""
    formats: tuple[tuple[str, str | None, Callable[[str], object]], ...] = (
        ("dtype", workload.dtype, weight_word),
        ("kv_dtype", workload.kv_dtype, CacheDtypes.parse),
    )
    for field_name, text, read in formats:
        try:
            if text is not None:
                read(text)
        except (ValueError, UsageError) as error:
            yield field_name, str(error)
