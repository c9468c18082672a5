"""Where a finding is, as other programs identify it: a path in the repository, a lasting fingerprint."""

import os
from collections.abc import Iterable
from pathlib import Path

from kvcalc.errors import Problem


def repository_root(folder: Path) -> Path:
    """The nearest folder upward that git keeps its files in; ``folder`` itself when there is none."""
    start = Path(os.path.abspath(folder))
    return next((each for each in (start, *start.parents) if (each / ".git").exists()), start)


def from_root(path: str, root: Path) -> str:
    """A path as the repository knows it, with forward slashes; one outside of it stays as it is."""
    relative = os.path.relpath(path, root)
    outside = relative == os.pardir or relative.startswith(os.pardir + os.sep)
    return (path if outside else relative).replace(os.sep, "/")


def fingerprints(problems: Iterable[Problem], root: Path) -> list[str]:
    """One for each problem, unique, of its rule, file and field.

    Line and message are not in it: a finding that moves, or whose numbers change, is the same one.
    """
    # Slow to import, and people's formats have no fingerprints.
    import hashlib

    seen: dict[tuple[str, str, str], int] = {}
    found = []
    for problem in problems:
        key = (problem.code, from_root(problem.path, root), problem.field)
        seen[key] = seen.get(key, 0) + 1
        text = "\0".join((*key, str(seen[key])))
        found.append(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32])
    return found
