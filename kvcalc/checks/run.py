"""Run every rule on files and folders of specs."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kvcalc.checks.expect import expect_findings
from kvcalc.errors import FileError, NotFoundError, Problem, SpecError
from kvcalc.spec.catalog import SUFFIXES
from kvcalc.spec.loader import Loaded, read_spec_file
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.problems import RULES


@dataclass(frozen=True)
class Report:
    """What the rules found in one file.

    spec: None when the file could not be read as one. problems: in the order of the file.
    """

    path: str
    spec: ModelSpec | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if RULES[p.code].severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if RULES[p.code].severity == "warning")


def check_file(path: Path) -> Report:
    """Hold one file to every rule. Raises NotFoundError or FileError when it cannot be read."""
    try:
        loaded = read_spec_file(path)
    except SpecError as error:
        # No text: not UTF-8, or too large to look at.
        return Report(str(path), None, error.problems)
    if loaded.spec is None or loaded.problems:
        # Numbers of an inconsistent spec mean nothing.
        return Report(str(path), loaded.spec, loaded.problems)
    problems = [
        Problem(code, loaded.path, *loaded.mark(where), where, message)
        for code, where, message in _findings(loaded, loaded.spec)
    ]
    problems.sort(key=lambda problem: (problem.line, problem.column, problem.field))
    return Report(str(path), loaded.spec, tuple(problems))


def check_paths(paths: Iterable[Path]) -> tuple[Report, ...]:
    """Hold files, and every spec under folders, to every rule.

    Raises NotFoundError for a path that does not exist or a folder without a spec, and FileError
    for a file that cannot be read.
    """
    files: dict[Path, None] = {}
    for path in paths:
        files.update(dict.fromkeys(_specs_under(path) if os.path.isdir(path) else [path]))
    return tuple(check_file(path) for path in files)


def _findings(loaded: Loaded, spec: ModelSpec) -> Iterator[tuple[str, str, str]]:
    stem = Path(loaded.path).stem
    if spec.name != stem:
        yield "KV501", "name", f"'{spec.name}' stands in a file named '{stem}'"
    yield from expect_findings(spec)
    if spec.budgets:
        from kvcalc.checks.budgets import budget_findings

        yield from budget_findings(spec)


def _specs_under(folder: Path) -> list[Path]:
    """Every YAML file below a folder, hidden ones not, in an order that no file system decides."""
    found = []
    for root, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        specs = [
            Path(root, name)
            for name in sorted(names)
            if name.endswith(SUFFIXES) and not name.startswith(".")
        ]
        # A link that leads nowhere is reported; a pipe or a socket is no spec and would block.
        found += [path for path in specs if path.is_file() or path.is_symlink()]
    if not found:
        suffixes = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise NotFoundError(f"no spec ({suffixes}) in {folder}")
    return found


def _unreadable(error: OSError) -> None:
    raise FileError(f"cannot read {error.filename}: {error.strerror}")
