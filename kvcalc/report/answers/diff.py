"""``kvcalc diff``: per model the fields that changed, and what that does to its numbers."""

from collections.abc import Callable, Iterator
from typing import Any

from kvcalc.checks.diff import Change, Diff, FailOn, OneSided, PolicyChange, Row, is_loosened
from kvcalc.checks.limits import FieldChange
from kvcalc.checks.quantities import QUANTITIES, unit_of
from kvcalc.memory.workload import Asked
from kvcalc.report.cells import Bytes, Cell, Count, Decimal, ExactBytes, RoundCount, Tone
from kvcalc.report.cells import words as words_of
from kvcalc.report.findings.text import problem_line
from kvcalc.report.objects import diff as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import (
    Answer,
    Column,
    Group,
    Line,
    Part,
    Point,
    Points,
    Sheet,
    Table,
    for_csv,
)
from kvcalc.report.sheet import Row as SheetRow
from kvcalc.spec.dump import flow
from kvcalc.units import format_bytes, format_tokens

MARK = "kvcalc-diff"
KEYS = (
    "model", "part", "path", "quantity", "base", "head", "difference", "percent", "tolerated",
)  # fmt: skip
# Fields of a budget that people write with a unit.
_UNITS: dict[str, Callable[[int], str]] = {
    "context": format_tokens,
    "encoder_context": format_tokens,
    **dict.fromkeys(("cache", "weights", "total", "cache_per_token", "gpu_memory"), format_bytes),
}
# What a field's old and new value may take of a line, and a whole budget or layer that comes or goes.
_MAX_VALUE, _MAX_BUDGET = 60, 200


def answer(diff: Diff, fail_on: FailOn) -> Answer:
    """fail_on: what makes the exit status 1."""
    return Answer(lambda: [sheet(diff, fail_on)], lambda: to_object(diff, fail_on))


def sheet(diff: Diff, fail_on: FailOn) -> Sheet:
    """Changed models, added and removed ones, what cannot be compared, and one line to end with."""
    parts: list[Part] = [*_changed(diff), *_same_numbers(diff)]
    apart = [
        Point(word, each.model, tuple(one_sided(each, diff.reference)))
        for word, each in diff.one_sided
    ]
    apart += [
        Point("policy", policy.path, tuple(map(field_line, policy.fields)), code=True)
        for policy in diff.policies
    ]
    parts += [Points(tuple(apart), tone=""), _one_sided_table(diff)] if apart else []
    for broken in diff.broken:
        heading = f"not comparable: the {broken.side} of {broken.path} is no sound spec"
        parts.append(Points(tuple(map(problem_line, broken.problems)), heading, ""))
    said = conclusion(diff, fail_on)
    return Sheet("", "", tuple(parts), (), KEYS, said, f"kvcalc: {said}", MARK)


def _changed(diff: Diff) -> Iterator[Table]:
    rows = [row for change in diff.changed for row in _rows(change, diff.reference)]
    columns = (
        Column("quantity", "quantity"), Column("base"), Column("head"),
        Column("difference", "difference"), Column("", right=True), Column(None, "base"),
        Column(None, "head"), Column(None, "percent"), Column(None, "tolerated"),
        Column(None, "path"),
    )  # fmt: skip
    if rows:
        yield Table("changed", columns, tuple(rows), grouped=("model", "changed"))


def _rows(change: Change, reference: Asked) -> Iterator[SheetRow]:
    group: Group | None = Group(change.model, renamed(change), where(change), _said(change))
    for row in change.rows:
        tone: Tone = "" if row.tolerated else "bad" if row.delta > 0 else "good"
        share = None if row.percent is None else Decimal(row.percent)
        sides = (_number(row.quantity, row.base), _number(row.quantity, row.head))
        tolerated = " (tolerated)" if row.tolerated else ""
        cells: tuple[Cell, ...] = (
            words(row.quantity, reference), *sides, _difference(row), percent(row) + tolerated,
            *sides, share, "yes" if row.tolerated else "no", change.path,
        )  # fmt: skip
        yield SheetRow(cells, tone, 1, group=group)
        group = None


def _said(change: Change) -> tuple[tuple[str, Tone], ...]:
    """The fields that changed, the limits, and where the file was."""
    said: list[tuple[str, Tone]] = [(field_line(field), "") for field in change.fields]
    said += [(field_line(field), "warn") for field in change.limits]
    if change.base_path != change.path:
        said.append((f"moved from {change.base_path}", ""))
    return tuple(said)


def _same_numbers(diff: Diff) -> Iterator[Line]:
    """Models whose numbers stay: another name, or other limits."""
    for change in diff.changed:
        if not change.rows:
            yield Line(f"{renamed(change)}  {where(change)}".strip(), change.model)
            for said, tone in _said(change):
                yield Line(f"  {said}", tone=tone, close=True)
            yield Line("  the same numbers", tone="faint", close=True)


def _one_sided_table(diff: Diff) -> Table:
    """The figures of what stands on one side only, for csv alone."""
    columns = for_csv("model", "path", "quantity", "base", "head")
    rows = [
        SheetRow((
            each.model, each.path, words(quantity, diff.reference),
            _number(quantity, number) if word == "removed" else None,
            _number(quantity, number) if word == "added" else None,
        ), part=word)
        for word, each in diff.one_sided
        for quantity, number in each.quantities.items()
    ]  # fmt: skip
    return Table("", columns, tuple(rows))


def to_object(diff: Diff, fail_on: FailOn) -> dict[str, Any]:
    """Integers; a difference in percent is the only quotient. ``failed`` says what the exit status says."""
    return filled(
        objects.Diff, diff,
        base={"revision": diff.revision, "commit": diff.base.commit},
        fail_on=fail_on, failed=diff.fails(fail_on), failing=diff.failing(fail_on),
        changed=list(map(_change, diff.changed)),
        added=[_one_sided(each) for each in diff.added],
        removed=[_one_sided(each) for each in diff.removed],
    )  # fmt: skip


def _change(change: Change) -> dict[str, Any]:
    quantities = [
        filled(objects.Quantity, row, percent=row.percent and round(row.percent, 2))
        for row in change.rows
    ]
    return filled(objects.Change, change, quantities=quantities)


def _one_sided(each: OneSided) -> dict[str, Any]:
    values = [
        {"quantity": quantity, "unit": unit_of(quantity), "value": number}
        for quantity, number in each.quantities.items()
    ]
    return filled(objects.OneSided, each, quantities=values)


def words(quantity: str, reference: Asked) -> str:
    """``cache of 8k tokens x 1``: what a row is about."""
    label, _ = QUANTITIES[quantity]
    if quantity == "cache_bytes":
        label += (
            f" of {format_tokens(reference.context_tokens or 0)} tokens x {reference.batch_size}"
        )
    return label


def _number(quantity: str, number: int) -> Bytes | RoundCount:
    return Bytes(number) if QUANTITIES[quantity][1] else RoundCount(number)


def value(quantity: str, number: int) -> str:
    """A quantity as people say it: ``128.00 KiB``, ``8.03 B``."""
    return words_of(_number(quantity, number))


def _difference(row: Row) -> ExactBytes | Count:
    if QUANTITIES[row.quantity][1]:
        return ExactBytes(row.delta, True, " B")
    return Count(row.delta, True)


def difference(row: Row) -> str:
    """``+393,216 B``: exact, with its sign."""
    return words_of(_difference(row))


def percent(row: Row) -> str:
    """``+300.0 %``; nothing where the base is zero. Never 0.0 for what is not."""
    if row.base == 0:
        return ""
    tenths = (abs(row.delta) * 2000 + row.base) // (2 * row.base)
    sign = "+" if row.delta > 0 else "-"
    return f"{sign}{tenths // 10}.{tenths % 10} %" if tenths else f"{sign}<0.1 %"


def field_line(change: FieldChange) -> str:
    """``blocks.decoder.attention.num_key_value_heads: 8 -> 32``; a budget's sizes with units.

    What is held to less, or to more, is called so: ``loosened: budgets[0].batch: 8 -> 3``.
    """
    sides: tuple[Any, ...] = (change.base, change.head)
    if change.field.startswith(("budgets[", "workload.")):
        name = change.field.rpartition(".")[2]
        said = [_with_units(name, side) for side in sides]
        # Units round: where that hides the difference, the numbers stay.
        sides = (said[0], said[1]) if said[0] != said[1] else sides
    word = "" if change.effect == "changed" else f"{change.effect}: "
    if change.effect in ("added", "removed"):
        sides = (sides[0] if change.head is None else sides[1],)
    models = "" if change.field.endswith(".models") else ", ".join(change.models)
    about = f" (for {_short(models, _MAX_VALUE)})" if models else ""
    return f"{word}{change.field}: {' -> '.join(map(_shown, sides))}{about}"


def _with_units(name: str, plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _with_units(key, item) for key, item in plain.items()}
    if isinstance(plain, int) and name in _UNITS:
        return _UNITS[name](plain)
    return plain


def where(change: Change) -> str:
    """The head's file, and the line of the first field that changed."""
    return f"{change.path}:{change.line}" if change.line else change.path


def renamed(change: Change) -> str:
    """`` (was old-name)`` for a model that has another name now."""
    return f" (was {change.base_model})" if change.base_model != change.model else ""


def one_sided(each: OneSided, reference: Asked) -> Iterator[str]:
    """The figures of an added or removed model, shortest that says it."""
    for quantity in ("parameters", "weight_bytes", "cache_bytes_per_token", "cache_bytes"):
        number = each.quantities[quantity]
        yield f"{words(quantity, reference)} {value(quantity, number)}"


def policy_title(policy: PolicyChange) -> str:
    """``kvcalc.yaml loosened``, or ``changed`` where nothing may take more than before."""
    return f"{policy.path} {'loosened' if is_loosened(policy.fields) else 'changed'}"


def conclusion(diff: Diff, fail_on: FailOn) -> str:
    """``compared with origin/main (1234abcd): 2 models changed, 1 added; failing: llama-3-8b``."""
    changed = sum(bool(change.rows) for change in diff.changed)
    parts = [f"{changed} model{'' if changed == 1 else 's'} changed"] if changed else []
    for word, count in (
        ("added", len(diff.added)),
        ("removed", len(diff.removed)),
        ("not comparable", len({each.path for each in diff.broken})),
    ):
        if count:
            parts.append(f"{count} {word}")
    loosened = sum(is_loosened(change.limits) for change in diff.changed)
    parts += [f"{loosened} with a loosened budget"] if loosened else []
    parts += [policy_title(each) for each in diff.policies]
    found = ", ".join(parts) or "no difference in any number"
    failing = ", ".join(diff.failing(fail_on))
    words = f"; failing: {_short(failing, _MAX_BUDGET)}" if failing else ""
    return f"compared with {diff.revision} ({diff.base.commit[:8]}): {found}{words}"


def _shown(plain: Any) -> str:
    if plain is None:
        return "unset"
    text = flow(plain)
    most = _MAX_BUDGET if isinstance(plain, dict) else _MAX_VALUE
    return _short(text, most)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
