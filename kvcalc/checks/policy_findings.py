"""Specs that outgrow a team's budgets."""

from collections.abc import Iterator
from dataclasses import replace

from kvcalc.checks.budget_language import Policy, PolicyBudget
from kvcalc.checks.budgets import asked_of, exceeded, workload_of
from kvcalc.checks.files import FILE_NAME
from kvcalc.checks.policy import LoadedPolicy, means
from kvcalc.checks.policy_form import Finding
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import KvcalcError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.estimate import answer
from kvcalc.memory.layout import Layout
from kvcalc.memory.weights import summarise
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes, format_count


def policy_findings(
    loaded: LoadedPolicy, spec: ModelSpec, path: str
) -> Iterator[tuple[str, str, str, str]]:
    """(code, the spec's field to look at, the policy's field, message) for a spec that outgrows the
    policy's budgets, or for which they cannot be computed."""
    policy = loaded.policy or Policy()
    for index, budget in enumerate(policy.budgets):
        if not means(budget.models, loaded, spec.name, path):
            continue
        where = f"budgets[{index}]"
        try:
            found = [
                *exceeded(spec, budget, where),
                *_whatever_the_workload(spec, budget, where),
                *_on_gpus(spec, budget, where),
            ]
        except KvcalcError as error:
            found = [("KV402", where, error.message)]
        for code, place, message in found:
            line, _ = loaded.mark(place)
            cause = _cause(spec, budget, place) if code == "KV401" else "name"
            yield code, cause, f"{FILE_NAME}: {place}", f"{message} ({loaded.path}:{line})"


def _cause(spec: ModelSpec, budget: PolicyBudget, place: str) -> str:
    """The spec's field that takes most of what is too much."""
    result = answer(spec, _workload(spec, budget))
    limit = place.rpartition(".")[2]
    if limit in ("weights", "parameters"):
        return "blocks"
    if not limit.startswith("cache") and result.weight_bytes > result.cache.bytes:
        return "blocks"
    largest = max(result.cache.groups, key=lambda group: group.bytes).group
    return f"blocks.{largest.blocks[0]}.{largest.slot}"


def _whatever_the_workload(spec: ModelSpec, budget: PolicyBudget, where: str) -> Iterator[Finding]:
    """KV401 for the limits that need no tokens: parameters, and bytes a token."""
    if budget.parameters is not None:
        total = summarise(spec).total
        if total > budget.parameters:
            message = (
                f"{total} ({format_count(total)}), {total - budget.parameters} more than the "
                f"budget of {budget.parameters}"
            )
            yield "KV401", f"{where}.parameters", message
    if budget.cache_per_token is not None:
        per_token = cache_function(spec, CacheDtypes.parse(budget.kv_dtype)).bytes_per_token
        over = per_token - budget.cache_per_token
        if over > 0:
            message = (
                f"{per_token} bytes ({format_bytes(per_token)}) a token in {budget.kv_dtype}, "
                f"{over} ({format_bytes(over)}) more than the budget of {budget.cache_per_token} "
                f"({format_bytes(budget.cache_per_token)})"
            )
            yield "KV401", f"{where}.cache_per_token", message


def _on_gpus(spec: ModelSpec, budget: PolicyBudget, where: str) -> Iterator[Finding]:
    if budget.gpu is not None or budget.gpu_memory is not None:
        from kvcalc.checks.gpu import gpu_findings

        yield from gpu_findings(spec, budget, _workload(spec, budget), where)


def _workload(spec: ModelSpec, budget: PolicyBudget) -> Workload:
    asked = replace(asked_of(budget), layout=Layout(budget.tp, budget.pp))
    return workload_of(spec, asked)
