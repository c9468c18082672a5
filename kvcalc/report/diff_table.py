"""``kvcalc diff`` for people: per model the fields that changed, and what that does to its numbers."""

from typing import Any

from rich.table import Table
from rich.text import Text

from kvcalc.checks.diff import Change, Diff, OneSided
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


def render(diff: Diff) -> str:
    """Changed models, added and removed ones, what cannot be compared, and one line to end with."""
    parts: list[Any] = []
    for change in diff.changed:
        parts += [*_heading(change), *_rows(change, diff), ""]
    for word, models in (("added", diff.added), ("removed", diff.removed)):
        if models:
            parts += [_one_sided(word, models, diff), ""]
    for each in diff.broken:
        parts.append(
            Text(f"not comparable: the {each.side} of {each.path} is no sound spec", "bold")
        )
        parts += [Text(f"  {problem_line(problem)}") for problem in each.problems]
        parts.append("")
    return to_text(*parts, Text(conclusion(diff)))


def _heading(change: Change) -> list[Text]:
    title = Text(change.model, style="bold")
    title.append(f"{renamed(change)}  {where(change)}", "not bold dim")
    lines = [Text(f"  {field_line(field)}") for field in change.fields]
    return [title, *lines, *(Text(f"  {field_line(field)}", "yellow") for field in change.limits)]


def _rows(change: Change, diff: Diff) -> list[Table | Text]:
    if not change.rows:
        return [Text("  the same numbers", "dim")]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True, min_width=24)
    table.add_column("base", justify="right", no_wrap=True, min_width=12)
    table.add_column("now", justify="right", no_wrap=True, min_width=12)
    table.add_column("difference", justify="right", no_wrap=True, min_width=20)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in change.rows:
        colour = "" if row.tolerated else "red" if row.delta > 0 else "green"
        table.add_row(
            f"  {words(row.quantity, diff.reference)}",
            value(row.quantity, row.base),
            value(row.quantity, row.head),
            Text(difference(row), colour),
            Text(percent(row), colour),
            Text("tolerated" if row.tolerated else "", "dim"),
        )
    return [table]


def _one_sided(word: str, models: tuple[OneSided, ...], diff: Diff) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True, style="dim")
    for each in models:
        table.add_row(word, each.model, ", ".join(one_sided(each, diff.reference)))
    return table
