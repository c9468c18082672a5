"""``kvcalc.yaml``: the budgets of a team, written once for all its specs; how it is found and read.

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
Its language is kvcalc/checks/budget_language.py, what can be wrong with it policy_form.py, what it finds
policy_findings.py. ``kvcalc schema --policy`` prints the JSON Schema (kvcalc/checks/policy_schema.py).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from kvcalc.checks.budget_language import Policy, needless_fields
from kvcalc.checks.files import FILE_NAME
from kvcalc.checks.policy_form import Finding, incomplete
from kvcalc.errors import FileError, Problem
from kvcalc.frozen import frozen
from kvcalc.spec.catalog import shipped
from kvcalc.spec.loader import read_text
from kvcalc.spec.reader import FAILED, SpecReader
from kvcalc.spec.words import near


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
        reader.report(incomplete(policy))
    problems = tuple(sorted(reader.problems, key=lambda p: (p.line, p.column, p.field)))
    return LoadedPolicy(path, None if problems else policy, problems, reader.mark)


def load_policy(path: Path) -> LoadedPolicy:
    """Read a policy that something depends on. Raises FileError when it has problems."""
    loaded = read_policy(path)
    if loaded.problems:
        raise FileError(f"{path} has problems: 'kvcalc check {path}' shows them", loaded.problems)
    return loaded


def means(patterns: tuple[str, ...], loaded: LoadedPolicy, name: str, path: str) -> bool:
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


def needless(loaded: LoadedPolicy) -> Iterator[Finding]:
    """KV403 for every field of a budget that decides nothing of its limits."""
    for index, budget in enumerate((loaded.policy or Policy()).budgets):
        for name, message in needless_fields(budget):
            yield "KV403", f"budgets[{index}].{name}", message


def _instead(pattern: str, names: set[str]) -> str:
    """What a pattern that fits nothing may have meant, or nothing."""
    hint = near(pattern, names)
    if not hint and pattern in shipped():
        hint = " (kvcalc ships one; a budget is for the specs that are checked)"
    return hint
