"""What a branch changes: every spec that differs from a git base, in numbers and in fields.

Both sides are computed here, the base from the text that git holds, so there is no stored result
that could be missing or stale. Specs that are equal on both sides are not even read.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from kvcalc.checks.changed import Changed, changed
from kvcalc.checks.files import is_config, is_named_like_a_model
from kvcalc.checks.git import Base, Repository
from kvcalc.checks.limits import LOOSER, FieldChange, budget_changes, no_longer_held, policy_changes
from kvcalc.checks.quantities import QUANTITIES, Tolerance, tolerated, unit_of
from kvcalc.checks.sides import (
    Reader,
    Side,
    folder_of,
    is_policy,
    policies_upward,
    wanted_paths,
)
from kvcalc.errors import Problem
from kvcalc.frozen import frozen
from kvcalc.memory.shown import Shown
from kvcalc.memory.workload import Asked
from kvcalc.spec.catalog import SUFFIXES
from kvcalc.spec.dump import to_plain

FailOn = Literal["increase", "any", "none"]
# A model as the base has it and as the head has it; None on the side that it is not on.
Pair = tuple[Side | None, Side | None]

# What says where a spec is from; none of it changes a number.
_PROVENANCE = (
    "name",
    "source",
    "hub_id",
    "released",
    "notes",
    "left_out",
    "model_type",
    "checkpoint",
)
# What holds a spec's numbers instead of making them.
_LIMITS = ("expect", "budgets")


@frozen
class Row:
    """One quantity of one model on both sides. tolerated: the difference is within bounds."""

    quantity: str
    base: int
    head: int
    tolerated: bool

    @property
    def delta(self) -> int:
        return self.head - self.base

    @property
    def percent(self) -> Fraction | None:
        """The difference in hundredths of the base; None where that is zero."""
        return Fraction(self.delta * 100, self.base) if self.base else None

    @property
    def unit(self) -> str:
        return unit_of(self.quantity)


@frozen
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

    @property
    def line(self) -> int:
        """Of the first field that changed, in the head's file; 0 where there is none."""
        return next((field.line for field in (*self.fields, *self.limits)), 0)

    def fails(self, fail_on: FailOn) -> bool:
        """Whether it is a finding. Expected values that follow tolerated numbers are none."""
        beyond = [row for row in self.rows if not row.tolerated]
        if fail_on == "increase":
            return any(row.delta > 0 for row in beyond) or is_loosened(self.limits)
        held = [each for each in self.limits if not (self.rows and each.field.startswith("expect"))]
        return fail_on == "any" and bool(beyond or held or self.model != self.base_model)


@frozen
class OneSided:
    """A model that stands on one side only, with its quantities there."""

    path: str
    model: str
    quantities: dict[str, int]


@frozen
class NotComparable:
    """A file that one side cannot read."""

    path: str
    side: Literal["base", "head"]
    problems: tuple[Problem, ...]


@frozen
class PolicyChange:
    """What changed in a ``kvcalc.yaml``: budgets and tolerances, None where a side has none."""

    path: str
    fields: tuple[FieldChange, ...]

    def fails(self, fail_on: FailOn) -> bool:
        """Whether it is a finding: for ``increase``, what lets a model take more."""
        return fail_on == "any" or (fail_on == "increase" and is_loosened(self.fields))


def is_loosened(fields: tuple[FieldChange, ...]) -> bool:
    """Whether one of them lets a model take more than the base would."""
    return any(each.effect in LOOSER for each in fields)


@frozen
class Diff(Shown):
    """The answer. base: the commit; changed: with differences in numbers, limits or name.

    policies: what changed in what the specs are held to.
    """

    revision: str
    base: Base
    reference: Asked
    changed: tuple[Change, ...]
    added: tuple[OneSided, ...]
    removed: tuple[OneSided, ...]
    broken: tuple[NotComparable, ...]
    policies: tuple[PolicyChange, ...] = ()

    @property
    def one_sided(self) -> tuple[tuple[Literal["added", "removed"], OneSided], ...]:
        """Models that stand on one side only."""
        added: list[tuple[Literal["added", "removed"], OneSided]]
        added = [("added", each) for each in self.added]
        return (*added, *(("removed", each) for each in self.removed))

    def fails(self, fail_on: FailOn) -> bool:
        """Whether the differences are a finding."""
        return bool(self.failing(fail_on))

    def failing(self, fail_on: FailOn) -> tuple[str, ...]:
        """The models and files whose differences are a finding.

        A head that is no sound spec always is one, unless nothing is.
        """
        if fail_on == "none":
            return ()
        every = fail_on == "any"
        found = [each.path for each in self.broken if every or each.side == "head"]
        found += [each.model for each in self.changed if each.fails(fail_on)]
        found += [each.model for each in (*self.added, *self.removed) if every]
        found += [each.path for each in self.policies if each.fails(fail_on)]
        return tuple(dict.fromkeys(found))


def diff(
    paths: tuple[Path, ...],
    revision: str,
    reference: Asked,
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
    files = changed(
        repository,
        base.commit,
        tuple(dict.fromkeys((*wanted, *policies_upward(wanted)))),
        lambda path: path in explicit or is_policy(path) or is_named_like_a_model(path),
    )
    submodules = tuple(
        f"{each.path} is a submodule that changed, and its specs are not compared here: "
        f"kvcalc diff --base {each.base_object} {each.path}"
        for each in files
        if each.is_submodule
    )
    reader = Reader(repository, base.commit, explicit, reference)
    pairs, broken = _sound_pairs(reader, watch(reader.read(files), len(files)))
    both, added, removed = _matched(reader, files, pairs, everywhere="." in wanted)
    differ = [_change(old, new, tolerances) for old, new in both]
    return Diff(
        revision=revision,
        base=replace(base, notes=base.notes + submodules),
        reference=reference,
        changed=tuple(
            change
            for change in sorted(differ, key=lambda change: (change.model, change.path))
            if change.rows or change.limits or change.model != change.base_model
        ),
        added=_one_sided(added),
        removed=_one_sided(removed),
        broken=broken,
        policies=tuple(_policies(reader, [each for each in files if is_policy(each.path)])),
    )


# ---------------------------------------------------------------- models


def _sound_pairs(
    reader: Reader, pairs: Iterable[Pair]
) -> tuple[list[Pair], tuple[NotComparable, ...]]:
    """The pairs whose sides are sound, and every side that is not."""
    sound: list[Pair] = []
    broken: list[NotComparable] = []
    for old, new in pairs:
        before = len(broken)
        if old is not None and not old.is_sound:
            broken.append(NotComparable(old.path, "base", old.loaded.problems))
        if new is not None and not new.is_sound:
            broken.append(NotComparable(new.path, "head", new.loaded.problems))
        if len(broken) == before:
            sound.append((old, new))
    return sound, tuple(sorted(broken, key=lambda each: (each.path, each.side)))


def _matched(
    reader: Reader, files: list[Changed], pairs: list[Pair], everywhere: bool
) -> tuple[list[tuple[Side, Side]], list[Side], list[Side]]:
    """Models on both sides, be it in another file, those that were added, and those that were removed.

    everywhere: whether the files are all of the repository.
    """
    both = [(old, new) for old, new in pairs if old is not None and new is not None]
    removed = [old for old, new in pairs if old is not None and new is None]
    added = [new for old, new in pairs if new is not None and old is None]
    elsewhere: tuple[list[Side], list[Side]] = ([], [])
    if (removed or added) and not everywhere:
        elsewhere = reader.one_sided_elsewhere(files, (bool(added), bool(removed)))
    moved = _moved(removed, added, *elsewhere)
    taken = {id(side) for pair in moved for side in pair}
    come, gone = ([each for each in sides if id(each) not in taken] for sides in (added, removed))
    return both + moved, come, gone


def _moved(
    removed: list[Side], added: list[Side], gone: list[Side], come: list[Side]
) -> list[tuple[Side, Side]]:
    """Models in another file: those with the same name, then those with the same dimensions, the
    same hub id, the same layers.

    gone, come: what was removed from, and added to, the rest of the repository. It is paired with
    what is the same model for certain; layers are alike by chance in two models of one family.
    """
    pairs: list[tuple[Side, Side]] = []
    rest = {id(side) for side in (*gone, *come)}
    for keys, everywhere in (
        (_name, True),
        (_dimensions, True),
        (_hub_ids, True),
        (_layers, False),
    ):
        olds = [*removed, *gone] if everywhere else removed
        news = [*added, *come] if everywhere else added
        waiting: dict[str, list[Side]] = {}
        taken = {id(side) for pair in pairs for side in pair}
        for new in (side for side in news if id(side) not in taken):
            for key in keys(new):
                waiting.setdefault(key, []).append(new)
        for old in (side for side in olds if id(side) not in taken):
            found = [
                new for key in keys(old) for new in waiting.get(key, ()) if id(new) not in taken
            ]
            if found:
                pairs.append((old, found[0]))
                taken.add(id(found[0]))
    return [(old, new) for old, new in pairs if not {id(old), id(new)} <= rest]


def _name(side: Side) -> tuple[str, ...]:
    return (side.spec.name,)


def _hub_ids(side: Side) -> tuple[str, ...]:
    return tuple(each.lower() for each in side.spec.hub_id)


def _layers(side: Side) -> tuple[str, ...]:
    """What a renamed file keeps while its numbers grow: the stack, of as wide a model first."""
    plain = to_plain(side.spec)
    stack = repr([plain.get(key) for key in ("layers", "encoder")])
    return f"{plain['hidden_size']} {stack}", stack


def _dimensions(side: Side) -> tuple[str, ...]:
    plain: dict[str, Any] = to_plain(side.spec)
    kept = {key: value for key, value in plain.items() if key not in _PROVENANCE + _LIMITS}
    return (repr(kept),)


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
        if key == "expect":
            limits.append(change)
        elif key != "budgets" and (key not in _PROVENANCE or is_config(new.path)):
            fields.append(change)
    limits += budget_changes(old.spec.budgets, new.spec.budgets, new.loaded.mark)
    pairs = ((name, old.quantities[name], new.quantities[name]) for name in QUANTITIES)
    return Change(
        path=new.path,
        model=new.spec.name,
        base_path=old.path,
        base_model=old.spec.name,
        rows=tuple(
            Row(name, base, head, tolerated(name, old.quantities, new.quantities, tolerances))
            for name, base, head in pairs
            if base != head
        ),
        fields=tuple(fields),
        limits=tuple(limits),
    )


def _policies(reader: Reader, files: list[Changed]) -> Iterator[PolicyChange]:
    added = {each.path for each in files if not each.base_object and each.in_head}
    for path, old, new in reader.policies(files):
        if old.policy is not None and new.policy is not None:
            fields = tuple(policy_changes(old.policy, new.policy, new.mark))
            above = reader.policy_above(path) if path in added else None
            if above is not None:
                folder = os.path.relpath(os.path.dirname(path), os.path.dirname(above.path) or ".")
                fields += tuple(no_longer_held(above, new, folder.replace(os.sep, "/")))
            if fields:
                yield PolicyChange(path, fields)


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
