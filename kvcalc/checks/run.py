"""Run every rule on files and folders of specs."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from kvcalc.checks.expect import expect_findings
from kvcalc.checks.files import (
    APART,
    CONFIG,
    FILE_NAME,
    is_config,
    is_foreign,
    is_named_like_a_model,
    looks_like_a_model,
    models_below,
    read_model,
)
from kvcalc.checks.policy import LoadedPolicy, find_policy, needless, read_policy, unmatched
from kvcalc.checks.policy_findings import policy_findings
from kvcalc.errors import FileError, NotFoundError, Problem, SpecError
from kvcalc.frozen import frozen
from kvcalc.reading import MAX_CONFIG_BYTES, at_most, first_bytes
from kvcalc.spec.catalog import SUFFIXES, shipped
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.problems import RULES


@frozen
class Report:
    """What the rules found in one file.

    spec: None when the file could not be read as one. problems: in the order of the file.
    is_policy: the file is no spec, but the budgets that specs are held to.
    """

    path: str
    spec: ModelSpec | None
    problems: tuple[Problem, ...]
    is_policy: bool = False

    @property
    def is_config(self) -> bool:
        return is_foreign(self.path)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if RULES[p.code].severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if RULES[p.code].severity == "warning")

    @property
    def name(self) -> str | None:
        """The model's; None where it could not be read."""
        return self.spec.name if self.spec else None

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    @property
    def num_warnings(self) -> int:
        return len(self.warnings)

    @property
    def not_run(self) -> frozenset[str]:
        """Codes of the rules that this file did not get to, or that are not for its kind."""
        if self.is_policy:
            return frozenset(code for code in RULES if code[:3] != "KV1" and code != "KV402")
        if self.is_config and self.spec is not None:
            return frozenset(code for code in RULES if code[:3] in ("KV3", "KV5"))
        if self.spec is None:
            return frozenset(code for code in RULES if code[:3] != "KV1")
        if any(p.code[:3] in ("KV1", "KV2") or p.code == "KV502" for p in self.problems):
            return frozenset(
                code for code in RULES if code[:3] in ("KV3", "KV4") or code == "KV501"
            )
        return frozenset()


def check_file(path: Path, policy: LoadedPolicy | None = None) -> Report:
    """Hold one spec to every rule, and to a policy's budgets.

    Raises NotFoundError or FileError when it cannot be read.
    """
    folder, apart = "", None
    if is_config(path):
        beside = path.absolute().with_name(APART)
        folder = beside.parent.name
        apart = at_most(beside, MAX_CONFIG_BYTES) if beside.is_file() else None
    loaded = read_model(path, str(path), folder=folder, apart=apart).loaded
    if loaded.spec is None or loaded.problems:
        # Numbers of an inconsistent spec mean nothing.
        return Report(str(path), loaded.spec, loaded.problems)
    problems = [
        Problem(code, loaded.path, *loaded.mark(where), where, message)
        for code, where, message in (() if is_foreign(path) else _findings(path.stem, loaded.spec))
    ]
    if policy is not None:
        for code, cause, field, message in policy_findings(policy, loaded.spec, loaded.path):
            problems.append(Problem(code, loaded.path, *loaded.mark(cause), field, message))
    problems.sort(key=lambda problem: (problem.line, problem.column, problem.field))
    return Report(str(path), loaded.spec, tuple(problems))


def _check(path: Path, policy: LoadedPolicy | None, *, explicit: bool) -> Report:
    """One file of many: what a folder holds and nobody can read is its problem, and the rest goes on.

    Raises NotFoundError or FileError for a file that was named.
    """
    try:
        return check_file(path, policy)
    except (NotFoundError, FileError) as error:
        if explicit:
            raise
        return Report(str(path), None, (Problem("KV101", str(path), 0, 0, "", error.message),))


def check_paths(
    paths: Iterable[Path],
    policy: Path | None = None,
    watch: Callable[[Iterable[Path], int], Iterable[Path]] = lambda specs, total: specs,
) -> tuple[Report, ...]:
    """Hold files, and every spec under folders, to every rule and to their policy's budgets.

    policy: for all of them; otherwise the nearest kvcalc.yaml upward from each. watch: sees every
    spec go by, and how many there are.
    Raises NotFoundError for a path that does not exist or a folder without a spec, and FileError
    for a file that cannot be read.
    """
    paths = tuple(paths)
    for path in paths:
        if not path.exists() and (spec := shipped().get(str(path))) is not None:
            raise NotFoundError(f"no such file: {path}; the shipped spec of that name is {spec}")
    # A file is checked once, however often and however it is called.
    specs: dict[str, Path] = {}
    policies: dict[str, LoadedPolicy] = {}
    if policy is not None:
        _read(policy, policies)
    for path in paths:
        if path.name == FILE_NAME and not path.is_dir():
            _read(path, policies)
        else:
            for spec in _specs_under(path) if path.is_dir() else [path]:
                specs.setdefault(os.path.abspath(spec), spec)
    named = {*paths}
    nearest: dict[str, LoadedPolicy | None] = {}
    reports = []
    held: dict[str, list[Report]] = {}
    for path in watch(specs.values(), len(specs)):
        folder = os.path.dirname(path)
        if folder not in nearest:
            file = policy or find_policy(path.parent)
            nearest[folder] = None if file is None else _read(file, policies)
        governing = nearest[folder]
        reports.append(_check(path, governing, explicit=path in named))
        if governing is not None:
            held.setdefault(governing.path, []).append(reports[-1])
    chosen = None if policy is None else os.path.abspath(policy)
    return (
        *reports,
        *(
            _policy_report(each, held.get(each.path, []), is_nearest=key != chosen)
            for key, each in policies.items()
        ),
    )


def _read(path: Path, policies: dict[str, LoadedPolicy]) -> LoadedPolicy:
    """Read a policy once, however it is called."""
    key = os.path.abspath(path)
    if key not in policies:
        try:
            policies[key] = read_policy(path)
        except SpecError as error:
            policies[key] = LoadedPolicy(str(path), None, error.problems, lambda _: (1, 1))
    return policies[key]


def _policy_report(loaded: LoadedPolicy, held: list[Report], is_nearest: bool) -> Report:
    """What is wrong with a policy, patterns that fit nothing it could govern included.

    held: what was checked against it; the rest is below its folder or, of a policy that was chosen
    and not found, in its repository.
    """
    checked = ((r.spec.name if r.spec else Path(r.path).stem, r.path) for r in held)
    folder = Path(loaded.folder)
    around = (each for each in (folder, *folder.parents) if (each / ".git").exists())
    top = folder if is_nearest else next(around, folder)
    problems = loaded.problems + tuple(
        Problem(code, loaded.path, *loaded.mark(where), where, message)
        for code, where, message in (
            *needless(loaded),
            *unmatched(loaded, chain(checked, models_below(top, governed=is_nearest))),
        )
    )
    return Report(loaded.path, None, problems, is_policy=True)


def _findings(stem: str, spec: ModelSpec) -> Iterator[tuple[str, str, str]]:
    if spec.name != stem:
        message = f"'{spec.name}' stands in a file named '{stem}': call the file {spec.name}.yaml, "
        yield "KV501", "name", f"{message}or, where its name is right, write name: {stem}"
    yield from expect_findings(spec)
    if spec.budgets:
        from kvcalc.checks.budgets import budget_findings

        yield from budget_findings(spec)


def _specs_under(folder: Path) -> list[Path]:
    """Every YAML file below a folder, hidden ones not, in an order that no file system decides."""
    found = []
    for root, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        specs = [Path(root, name) for name in sorted(names) if is_named_like_a_model(name)]
        # A link that leads nowhere is reported; a pipe or a socket is no spec and would block.
        found += [
            path for path in specs if (not _is_other(path) if path.is_file() else path.is_symlink())
        ]
    if not found:
        suffixes = ", ".join((*(f"*{suffix}" for suffix in SUFFIXES), CONFIG))
        raise NotFoundError(f"no spec ({suffixes}) in {folder}")
    return found


def _is_other(path: Path) -> bool:
    """Whether a config.json is another tool's."""
    return is_config(path) and not looks_like_a_model(
        path.name, first_bytes(path, MAX_CONFIG_BYTES)
    )


def _unreadable(error: OSError) -> None:
    raise FileError(f"cannot read {error.filename}: {error.strerror}")
