"""``kvcalc.yaml``: the budgets of a team, written once for all its specs.

```yaml
budgets:
  - {models: serving/, context: 32k, batch: 32, gpu: h100-80gb, engine: vllm}
  - {models: [llama-3-8b, "qwen3-*", "!qwen3-0.6b"], context: 128k, cache: 16GiB}
tolerances: {weight_bytes: 1%}
workload: {context: 32k, batch: 32, kv_dtype: fp8}
```

A pattern with a slash is about paths, below the folder that the policy stands in; one without is
about names; one that begins with ``!`` takes out again what the others fit. The policy of a spec is
the nearest one upward from it, within its repository.
``kvcalc schema --policy`` prints the JSON Schema (kvcalc/checks/policy_schema.py).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from kvcalc.checks.budget_language import LIMITS, ComparedWorkload, Policy, PolicyBudget
from kvcalc.checks.budgets import asked_of, exceeded, workload_of
from kvcalc.checks.files import FILE_NAME
from kvcalc.checks.quantities import parse_tolerances
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import ENGINES, engine_of
from kvcalc.errors import FileError, KvcalcError, Problem, UsageError
from kvcalc.file_types import weight_word
from kvcalc.frozen import frozen
from kvcalc.memory.cache import cache_function
from kvcalc.memory.estimate import answer
from kvcalc.memory.layout import Layout
from kvcalc.memory.weights import summarise
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import shipped
from kvcalc.spec.loader import read_text
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.reader import FAILED, SpecReader
from kvcalc.spec.words import near
from kvcalc.units import KIB, MIB, format_bytes, format_count

Finding = tuple[str, str, str]


@frozen
class LoadedPolicy:
    """A policy file. policy: None when its form is wrong; mark: as of kvcalc.spec.loader.Loaded."""

    path: str
    policy: Policy | None
    problems: tuple[Problem, ...]
    mark: Callable[[str], tuple[int, int]]

    @property
    def folder(self) -> str:
        """The folder that patterns of paths begin at."""
        return os.path.dirname(os.path.abspath(self.path))


def find_policy(folder: Path) -> Path | None:
    """The nearest policy file upward from a folder, not beyond the folder that git is in."""
    # Shown as the user would write it: relative where the folder is.
    start = Path(os.path.abspath(folder))
    for each in (start, *start.parents):
        file = each / FILE_NAME
        if file.is_file():
            return file if folder.is_absolute() else Path(os.path.relpath(file))
        if (each / ".git").exists():
            return None
    return None


def read_policy(path: Path) -> LoadedPolicy:
    """Read a policy; problems are collected. Raises NotFoundError, FileError, or SpecError when
    the file is no text."""
    return policy_of(read_text(path), str(path))


def policy_of(text: str, path: str) -> LoadedPolicy:
    """Read the text of a policy; problems are collected."""
    reader = SpecReader(path)
    value = reader.document(text, Policy)
    policy: Policy | None = None if value is FAILED else value
    if policy is not None:
        reader.report(_incomplete(policy))
    problems = tuple(sorted(reader.problems, key=lambda p: (p.line, p.column, p.field)))
    return LoadedPolicy(path, None if problems else policy, problems, reader.mark)


def load_policy(path: Path) -> LoadedPolicy:
    """Read a policy that something depends on. Raises FileError when it has problems."""
    loaded = read_policy(path)
    if loaded.problems:
        raise FileError(f"{path} has problems: 'kvcalc check {path}' shows them", loaded.problems)
    return loaded


def policy_findings(
    loaded: LoadedPolicy, spec: ModelSpec, path: str
) -> Iterator[tuple[str, str, str, str]]:
    """(code, the spec's field to look at, the policy's field, message) for a spec that outgrows the
    policy's budgets, or for which they cannot be computed."""
    policy = loaded.policy or Policy()
    for index, budget in enumerate(policy.budgets):
        if not _means(budget.models, loaded, spec.name, path):
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


def _means(patterns: tuple[str, ...], loaded: LoadedPolicy, name: str, path: str) -> bool:
    """Whether a budget for these patterns is for a spec of that name and path."""
    found = [pattern for pattern in patterns if fits(pattern.removeprefix("!"), loaded, name, path)]
    return bool(found) and not any(pattern.startswith("!") for pattern in found)


def fits(pattern: str, loaded: LoadedPolicy, name: str, path: str) -> bool:
    """Whether a spec of that name and path is one that the pattern means."""
    if "/" not in pattern:
        return fnmatchcase(name, pattern)
    below = os.path.relpath(path, loaded.folder).replace(os.sep, "/")
    pattern = pattern.removeprefix("./")
    return fnmatchcase(below, f"{pattern}*" if pattern.endswith("/") else pattern)


def unmatched(loaded: LoadedPolicy, specs: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """KV402 for every pattern that fits none of the (name, path): it would guard nothing.

    specs: looked at as far as it takes.
    """
    left = {
        f"budgets[{index}].models" + (f"[{number}]" if len(budget.models) > 1 else ""): pattern
        for index, budget in enumerate((loaded.policy or Policy()).budgets)
        for number, pattern in enumerate(each.removeprefix("!") for each in budget.models)
    }
    names: set[str] = set()
    for name, path in specs if left else ():
        names.add(name)
        left = {where: each for where, each in left.items() if not fits(each, loaded, name, path)}
        if not left:
            return
    for where, pattern in left.items():
        what = "path" if "/" in pattern else "name"
        yield "KV402", where, f"no spec has a {what} like '{pattern}'{_instead(pattern, names)}"


def _instead(pattern: str, names: set[str]) -> str:
    """What a pattern that fits nothing may have meant, or nothing."""
    hint = near(pattern, names)
    if not hint and pattern in shipped():
        hint = " (kvcalc ships one; a budget is for the specs that are checked)"
    return hint


def _incomplete(policy: Policy) -> Iterator[Finding]:
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
