"""What a branch changes: every spec that differs from a git base, in numbers and in fields.

Both sides are computed here, the base from the text that git holds, so there is no stored result
that could be missing or stale. Specs that are equal on both sides are not even read.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kvcalc.checks.files import is_config
from kvcalc.checks.git import Base, Changed, Repository
from kvcalc.checks.policy import LoadedPolicy
from kvcalc.checks.quantities import QUANTITIES, Reference, Tolerance
from kvcalc.checks.sides import (
    Reader,
    Side,
    folder_of,
    is_policy,
    policies_upward,
    wanted_paths,
)
from kvcalc.errors import Problem
from kvcalc.frozen import dataclass
from kvcalc.spec.catalog import SUFFIXES
from kvcalc.spec.dump import to_plain

FailOn = Literal["increase", "any", "none"]
# A model as the base has it and as the head has it; None on the side that it is not on.
Pair = tuple[Side | None, Side | None]

# What says where a spec is from; none of it changes a number.
_PROVENANCE = ("name", "source", "hub_id", "notes", "left_out", "model_type")
# What holds a spec's numbers instead of making them.
_LIMITS = ("expect", "budgets")


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
class PolicyChange:
    """What changed in a ``kvcalc.yaml``: budgets and tolerances, None where a side has none."""

    path: str
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True)
class Diff:
    """The answer. base: the commit; changed: with differences in numbers, limits or name.

    policies: what changed in what the specs are held to.
    """

    revision: str
    base: Base
    reference: Reference
    changed: tuple[Change, ...]
    added: tuple[OneSided, ...]
    removed: tuple[OneSided, ...]
    broken: tuple[Broken, ...]
    policies: tuple[PolicyChange, ...] = ()

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


def diff(
    paths: tuple[Path, ...],
    revision: str,
    reference: Reference,
    tolerances: dict[str, Tolerance],
    *,
    merge_base: bool = True,
    watch: Callable[[Iterable[Pair], int], Iterable[Pair]] = lambda pairs, total: pairs,
) -> Diff:
    """Compare the specs at and below ``paths`` with a revision of their repository.

    watch: sees both sides of every file go by, and how many there are.
    Raises UsageError without a repository or a base, NotFoundError for a path that neither side
    has, and for folders without a spec.
    """
    repository = Repository.around(folder_of(paths[0]))
    base = repository.base(revision, merge_base)
    wanted = wanted_paths(repository, base.commit, paths)
    explicit = {path for path in wanted if path.endswith((*SUFFIXES, ".json"))}
    # An unmerged file is listed twice.
    meant = (*wanted, *policies_upward(wanted))
    files = list(dict.fromkeys(repository.changed(base.commit, meant)))
    submodules = tuple(
        f"{each.path} is a submodule that changed, and its specs are not compared here: "
        f"kvcalc diff --base {each.base_object} {each.path}"
        for each in files
        if each.is_submodule
    )
    reader = Reader(repository, base.commit, explicit, reference)
    changed: list[Change] = []
    broken: list[Broken] = []
    alone: tuple[list[Side], list[Side]] = ([], [])
    for old, new in watch(reader.read(files), len(files)):
        if old is not None and not old.is_sound:
            broken.append(Broken(old.path, "base", old.loaded.problems))
        if new is not None and not new.is_sound:
            broken.append(Broken(new.path, "head", new.loaded.problems))
        if any(side is not None and not side.is_sound for side in (old, new)):
            continue
        if old is not None and new is not None:
            changed.append(_change(old, new, tolerances))
        elif old is not None:
            alone[0].append(old)
        elif new is not None:
            alone[1].append(new)
    elsewhere: tuple[list[Side], list[Side]] = ([], [])
    if any(alone) and "." not in wanted:
        elsewhere = reader.one_sided_elsewhere(files, (bool(alone[1]), bool(alone[0])))
    for old, new in _moved(alone[0] + elsewhere[0], alone[1] + elsewhere[1]):
        if old in elsewhere[0] and new in elsewhere[1]:
            continue
        alone[0][:] = [side for side in alone[0] if side is not old]
        alone[1][:] = [side for side in alone[1] if side is not new]
        changed.append(_change(old, new, tolerances))
    return Diff(
        revision=revision,
        base=replace(base, notes=base.notes + submodules),
        reference=reference,
        changed=tuple(
            change
            for change in sorted(changed, key=lambda change: (change.model, change.path))
            if change.rows or change.limits or change.model != change.base_model
        ),
        added=_one_sided(alone[1]),
        removed=_one_sided(alone[0]),
        broken=tuple(sorted(broken, key=lambda each: (each.path, each.side))),
        policies=tuple(_policies(reader, [each for each in files if is_policy(each.path)])),
    )


# ---------------------------------------------------------------- models


def _moved(removed: list[Side], added: list[Side]) -> list[tuple[Side, Side]]:
    """Models in another file: those with the same name, then those with the same dimensions."""
    pairs: list[tuple[Side, Side]] = []
    for key in (lambda side: side.spec.name, _dimensions):
        waiting: dict[str, list[Side]] = {}
        for new in added:
            waiting.setdefault(key(new), []).append(new)
        found = [(old, waiting[key(old)].pop(0)) for old in removed if waiting.get(key(old))]
        taken = {id(side) for pair in found for side in pair}
        removed = [side for side in removed if id(side) not in taken]
        added = [side for side in added if id(side) not in taken]
        pairs += found
    return pairs


def _dimensions(side: Side) -> str:
    plain: dict[str, Any] = to_plain(side.spec)
    kept = {key: value for key, value in plain.items() if key not in _PROVENANCE + _LIMITS}
    return repr(kept)


def _one_sided(sides: list[Side]) -> tuple[OneSided, ...]:
    found = [OneSided(side.path, side.spec.name, side.quantities) for side in sides]
    return tuple(sorted(found, key=lambda each: (each.model, each.path)))


def _change(old: Side, new: Side, tolerances: dict[str, Tolerance]) -> Change:
    fields, limits = [], []
    plain = (old.file.plain, new.file.plain)
    if is_config(old.path) != is_config(new.path):
        plain = (to_plain(old.spec), to_plain(new.spec))
    for where, base, head in _differences("", *plain):
        key = re.split(r"[.\[]", where, maxsplit=1)[0]
        change = FieldChange(where, base, head, new.loaded.mark(where)[0])
        if key in _LIMITS:
            limits.append(change)
        elif key not in _PROVENANCE or is_config(new.path):
            fields.append(change)
    pairs = ((name, old.quantities[name], new.quantities[name]) for name in QUANTITIES)
    return Change(
        path=new.path,
        model=new.spec.name,
        base_path=old.path,
        base_model=old.spec.name,
        rows=tuple(
            Row(name, base, head, tolerances[name].allows(base, head))
            for name, base, head in pairs
            if base != head
        ),
        fields=tuple(fields),
        limits=tuple(limits),
    )


def _policies(reader: Reader, files: list[Changed]) -> Iterator[PolicyChange]:
    for path, old, new in reader.policies(files):
        if old.policy is not None and new.policy is not None and old.policy != new.policy:
            plain = (to_plain(old.policy), to_plain(new.policy))
            if fields := tuple(_policy_fields(*plain, new)):
                yield PolicyChange(path, fields)


def _policy_fields(old: Any, new: Any, head: LoadedPolicy) -> Iterator[FieldChange]:
    """The fields that differ; a budget that only moved in the list is the same one."""
    rest = list(enumerate(old.get("budgets", ())))
    pairs: list[tuple[str, Any, Any]] = []
    budgets = list(enumerate(new.get("budgets", ())))
    # Equal ones first, then those that have most in common.
    for equal in (True, False):
        for index, budget in list(budgets):
            likely = [each for each in rest if each[1] == budget or not equal]
            best = max(likely, key=lambda each: _alike(each[1], budget), default=None)
            if best is not None and _alike(best[1], budget):
                rest.remove(best)
                budgets.remove((index, budget))
                pairs.append((f"budgets[{index}]", best[1], budget))
    pairs += [(f"budgets[{index}]", None, budget) for index, budget in budgets]
    pairs.sort(key=lambda pair: pair[0])
    pairs += [(f"budgets[{index}]", budget, None) for index, budget in rest]
    pairs.append(("tolerances", old.get("tolerances", {}), new.get("tolerances", {})))
    for where, *sides in pairs:
        for field, base, value in _differences(where, *sides):
            yield FieldChange(field, base, value, head.mark(field)[0])


def _alike(one: dict[str, Any], other: dict[str, Any]) -> int:
    """How many fields two budgets share; to be for the same models counts most."""
    same: int = sum(key in other and other[key] == value for key, value in one.items())
    return same + (len(one) if one["models"] == other["models"] else 0)


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
