"""What a branch changes: every spec that differs from a git base, in numbers and in fields.

Both sides are computed here, the base from the text that git holds, so there is no stored result
that could be missing or stale. Specs that are equal on both sides are not even read.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kvcalc.checks.git import Base, Repository
from kvcalc.checks.policy import FILE_NAME
from kvcalc.checks.quantities import QUANTITIES, Reference, Tolerance, measure
from kvcalc.errors import KvcalcError, NotFoundError, Problem, SpecError, UsageError
from kvcalc.frozen import dataclass
from kvcalc.spec.catalog import SUFFIXES
from kvcalc.spec.dump import to_plain
from kvcalc.spec.loader import Loaded, decode, read_spec, read_text
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.reader import MAX_FILE_BYTES

FailOn = Literal["increase", "any", "none"]

# What says where a spec is from; none of it changes a number.
_PROVENANCE = ("name", "source", "hub_id", "notes", "left_out", "model_type")
# What holds a spec's numbers instead of making them.
_LIMITS = ("expect", "budgets")
# Keys that every spec has; a file that a folder holds and that has neither is something else.
_LIKE_A_SPEC = re.compile(rb"^(hidden_size|blocks)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True)
class FieldChange:
    """A field whose value differs; None where a side leaves it out. line: in the head's file."""

    field: str
    base: Any
    head: Any
    line: int


@dataclass(frozen=True)
class Row:
    """One quantity of one model on both sides. tolerated: the difference is within bounds."""

    quantity: str
    base: int
    head: int
    tolerated: bool

    @property
    def delta(self) -> int:
        return self.head - self.base


@dataclass(frozen=True)
class Change:
    """A model that stands on both sides and differs.

    path, model: of the head. rows: the quantities that differ. fields: what changed in the model.
    limits: what changed in ``expect`` and ``budgets``.
    """

    path: str
    model: str
    base_path: str
    base_model: str
    rows: tuple[Row, ...]
    fields: tuple[FieldChange, ...]
    limits: tuple[FieldChange, ...]


@dataclass(frozen=True)
class OneSided:
    """A model that stands on one side only, with its quantities there."""

    path: str
    model: str
    quantities: dict[str, int]


@dataclass(frozen=True)
class Broken:
    """A file that cannot be compared, because one side is no sound spec."""

    path: str
    side: Literal["base", "head"]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Diff:
    """The answer. base: the commit; changed: with differences in numbers, limits or name."""

    revision: str
    base: Base
    reference: Reference
    changed: tuple[Change, ...]
    added: tuple[OneSided, ...]
    removed: tuple[OneSided, ...]
    broken: tuple[Broken, ...]

    def fails(self, fail_on: FailOn) -> bool:
        """Whether the differences are a finding. A head that is no sound spec always is one."""
        if fail_on == "none":
            return False
        if any(each.side == "head" for each in self.broken):
            return True
        rows = [row for change in self.changed for row in change.rows if not row.tolerated]
        if fail_on == "increase":
            return any(row.delta > 0 for row in rows)
        return bool(rows or self.added or self.removed or self.broken)


@dataclass(frozen=True)
class _Side:
    """One side of a file: what it loads to, and its numbers when it is sound."""

    path: str
    loaded: Loaded
    quantities: dict[str, int]


def diff(
    paths: tuple[Path, ...],
    revision: str,
    reference: Reference,
    tolerances: dict[str, Tolerance],
    *,
    merge_base: bool = True,
) -> Diff:
    """Compare the specs at and below ``paths`` with a revision of their repository.

    Raises UsageError without a repository or a base, NotFoundError for a path that neither side
    has, and for folders without a spec.
    """
    repository = Repository.around(_folder(paths[0]))
    base = repository.base(revision, merge_base)
    wanted = _wanted(repository, base.commit, paths)
    explicit = {path for path in wanted if path.endswith(SUFFIXES)}
    sides = list(_load(repository, base.commit, tuple(wanted), explicit, reference))
    changed: list[Change] = []
    broken: list[Broken] = []
    alone: tuple[list[_Side], list[_Side]] = ([], [])
    for old, new in sides:
        if old is not None and not _is_sound(old):
            broken.append(Broken(old.path, "base", old.loaded.problems))
        if new is not None and not _is_sound(new):
            broken.append(Broken(new.path, "head", new.loaded.problems))
        if any(side is not None and not _is_sound(side) for side in (old, new)):
            continue
        if old is not None and new is not None:
            changed.append(_change(old, new, tolerances))
        elif old is not None:
            alone[0].append(old)
        elif new is not None:
            alone[1].append(new)
    for old, new in _moved(*alone):
        alone[0].remove(old)
        alone[1].remove(new)
        changed.append(_change(old, new, tolerances))
    return Diff(
        revision=revision,
        base=base,
        reference=reference,
        changed=tuple(
            change
            for change in sorted(changed, key=lambda change: (change.model, change.path))
            if change.rows or change.limits or change.model != change.base_model
        ),
        added=_one_sided(alone[1]),
        removed=_one_sided(alone[0]),
        broken=tuple(sorted(broken, key=lambda each: (each.path, each.side))),
    )


# ---------------------------------------------------------------- files


def _folder(path: Path) -> Path:
    """The nearest folder that exists: a path may stand in the base only."""
    folder = Path(os.path.abspath(path))
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _wanted(repository: Repository, commit: str, paths: tuple[Path, ...]) -> list[str]:
    """The paths as the repository names them. Raises NotFoundError for one without a spec."""
    wanted = []
    for path in paths:
        folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
        full = os.path.realpath(path) if path.is_dir() else os.path.join(folder, path.name)
        name = os.path.relpath(full, os.path.realpath(repository.root)).replace(os.sep, "/")
        if name == ".." or name.startswith("../"):
            raise UsageError(f"{path} is not in the repository {repository.root}")
        if path.is_dir():
            on_disk = (
                os.path.join(where, file)
                for where, _, files in os.walk(path)
                for file in files
                if _is_named_like_a_spec(file)
            )
            held: Any = next(on_disk, None)
        else:
            held = path.exists()
        if not held:
            listed = repository.files(commit, name)
            if not any(_is_named_like_a_spec(file) or file == name for file in listed):
                what = "no spec in" if path.is_dir() or listed else "no such file, now or before:"
                raise NotFoundError(f"{what} {path}")
        wanted.append(name)
    return wanted


def _is_named_like_a_spec(path: str) -> bool:
    parts = path.split("/")
    hidden = any(part.startswith(".") and part != "." for part in parts)
    return path.endswith(SUFFIXES) and not hidden and parts[-1] != FILE_NAME


def _load(
    repository: Repository,
    commit: str,
    wanted: tuple[str, ...],
    explicit: set[str],
    reference: Reference,
) -> Iterator[tuple[_Side | None, _Side | None]]:
    """Both sides of every file that differs and is a spec."""
    # An unmerged file is listed twice.
    files = dict.fromkeys(
        each
        for each in repository.changed(commit, wanted)
        if each.path in explicit or _is_named_like_a_spec(each.path)
    )
    texts = repository.texts(
        [each.base_object for each in files if each.base_object], MAX_FILE_BYTES
    )
    for each in files:
        data = next(texts) if each.base_object else None
        file = repository.root / each.path
        if each.path in explicit or _LIKE_A_SPEC.search(data or _head_bytes(file)):
            yield (
                None if data is None else _side(each.path, reference, data),
                _side(each.path, reference, file) if each.in_head else None,
            )
    # The last text is followed by the end of git's process.
    for _ in texts:
        pass


def _head_bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES)
    except OSError:
        return b""


def _side(path: str, reference: Reference, source: bytes | Path) -> _Side:
    """Read and measure one side; what is wrong with it becomes its problems."""
    try:
        text = decode(source, Path(path)) if isinstance(source, bytes) else read_text(source)
        loaded = read_spec(text, path)
        if loaded.spec is None or loaded.problems:
            return _Side(path, loaded, {})
        return _Side(path, loaded, measure(loaded.spec, reference))
    except SpecError as error:
        problems = tuple(replace(problem, path=path) for problem in error.problems)
    except KvcalcError as error:
        problems = (Problem("KV402", path, 0, 0, "", error.message),)
    return _Side(path, Loaded(path, None, problems, lambda _: (1, 1)), {})


def _is_sound(side: _Side) -> bool:
    return side.loaded.spec is not None and not side.loaded.problems


# ---------------------------------------------------------------- models


def _spec(side: _Side) -> ModelSpec:
    assert side.loaded.spec is not None
    return side.loaded.spec


def _moved(removed: list[_Side], added: list[_Side]) -> list[tuple[_Side, _Side]]:
    """Models in another file: those with the same name, then those with the same dimensions."""
    pairs: list[tuple[_Side, _Side]] = []
    for key in (lambda side: _spec(side).name, _dimensions):
        taken = [side for pair in pairs for side in pair]
        rest = [side for side in added if side not in taken]
        for old in (side for side in removed if side not in taken):
            new = next((side for side in rest if key(side) == key(old)), None)
            if new is not None:
                rest.remove(new)
                pairs.append((old, new))
    return pairs


def _dimensions(side: _Side) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(_spec(side))
    return {key: value for key, value in plain.items() if key not in _PROVENANCE + _LIMITS}


def _one_sided(sides: list[_Side]) -> tuple[OneSided, ...]:
    found = [OneSided(side.path, _spec(side).name, side.quantities) for side in sides]
    return tuple(sorted(found, key=lambda each: (each.model, each.path)))


def _change(old: _Side, new: _Side, tolerances: dict[str, Tolerance]) -> Change:
    fields, limits = [], []
    for where, base, head in _differences("", to_plain(_spec(old)), to_plain(_spec(new))):
        key = re.split(r"[.\[]", where, maxsplit=1)[0]
        change = FieldChange(where, base, head, new.loaded.mark(where)[0])
        if key in _LIMITS:
            limits.append(change)
        elif key not in _PROVENANCE:
            fields.append(change)
    pairs = ((name, old.quantities[name], new.quantities[name]) for name in QUANTITIES)
    return Change(
        path=new.path,
        model=_spec(new).name,
        base_path=old.path,
        base_model=_spec(old).name,
        rows=tuple(
            Row(name, base, head, tolerances[name].allows(base, head))
            for name, base, head in pairs
            if base != head
        ),
        fields=tuple(fields),
        limits=tuple(limits),
    )


def _differences(where: str, base: Any, head: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, base, head) of every value that differs, as deep as both sides have the same shape."""
    if isinstance(base, dict) and isinstance(head, dict):
        for key in {**base, **head}:
            below = f"{where}.{key}".lstrip(".")
            yield from _differences(below, base.get(key), head.get(key))
    elif isinstance(base, list) and isinstance(head, list) and _has_mappings(base, head):
        for index in range(max(len(base), len(head))):
            sides = (side[index] if index < len(side) else None for side in (base, head))
            yield from _differences(f"{where}[{index}]", *sides)
    elif base != head:
        yield where, base, head


def _has_mappings(*lists: list[Any]) -> bool:
    return all(isinstance(item, dict) for each in lists for item in each)
