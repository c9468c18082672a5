"""``kvcalc diff`` for people: per model the fields that changed, and what that does to its numbers."""

from rich.text import Text

from kvcalc.checks.diff import Change, Diff, FailOn
from kvcalc.report.check_text import problem_line
from kvcalc.report.diff_rows import (
    conclusion,
    difference,
    field_line,
    one_sided,
    percent,
    renamed,
    value,
    where,
    words,
)
from kvcalc.report.text import render as to_text

# The same columns under every model. Laid out by hand: rich takes a millisecond for each table.
_WIDTHS = (11, 11, 17, 8)


def render(diff: Diff, fail_on: FailOn) -> str:
    """Changed models, added and removed ones, what cannot be compared, and one line to end with."""
    lines: list[Text] = []
    for change in diff.changed:
        lines += [*_change(change, diff), Text()]
    for word, models in (("added", diff.added), ("removed", diff.removed)):
        for each in models:
            line = Text.assemble(f"{word}  ", (each.model, "bold"), f"  {each.path}")
            figures = Text(f"  {', '.join(one_sided(each, diff.reference))}", "dim")
            lines += [line, figures, Text()]
    for broken in diff.broken:
        said = f"not comparable: the {broken.side} of {broken.path} is no sound spec"
        lines.append(Text(said, "bold"))
        lines += [Text(f"  {problem_line(problem)}") for problem in broken.problems]
        lines.append(Text())
    for policy in diff.policies:
        lines.append(Text.assemble("policy  ", (policy.path, "bold")))
        lines += [Text(f"  {field_line(field)}", "yellow") for field in policy.fields]
        lines.append(Text())
    lines.append(Text(conclusion(diff, fail_on)))
    return to_text(Text("\n").join(lines))


def _change(change: Change, diff: Diff) -> list[Text]:
    title = Text.assemble((change.model, "bold"), (f"{renamed(change)}  {where(change)}", "dim"))
    lines = [title, *(Text(f"  {field_line(field)}") for field in change.fields)]
    lines += [Text(f"  {field_line(field)}", "yellow") for field in change.limits]
    if not change.rows:
        return [*lines, Text("  the same numbers", "dim")]
    # The longest label, that of the cache, decides for all.
    margin = max(25, len(words("cache_bytes", diff.reference)) + 3)
    lines.append(Text(" " * margin + _columns("base", "head", "difference", ""), "dim"))
    for row in change.rows:
        colour = "" if row.tolerated else "red" if row.delta > 0 else "green"
        label = f"  {words(row.quantity, diff.reference)}".ljust(margin)
        sides = (value(row.quantity, row.base), value(row.quantity, row.head))
        text = Text(label + _columns(*sides, difference(row), percent(row)))
        text.stylize(colour, start=margin + sum(_WIDTHS[:2]) + 4)
        text.append("  tolerated" if row.tolerated else "", "dim")
        lines.append(text)
    return lines


def _columns(*cells: str) -> str:
    return "".join(f"  {cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
