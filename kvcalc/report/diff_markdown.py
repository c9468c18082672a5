"""``kvcalc diff --format markdown``: a table for a pull request.

The comment at its head is not shown; a step that posts the table finds its earlier comment by it.
"""

from collections.abc import Iterator

from kvcalc.checks.diff import Change, Diff, FailOn
from kvcalc.report.check_markdown import code, text
from kvcalc.report.check_text import problem_line
from kvcalc.report.diff_rows import (
    conclusion,
    difference,
    field_line,
    one_sided,
    percent,
    renamed,
    value,
    words,
)

MARKER = "<!-- kvcalc-diff -->"


def render(diff: Diff, fail_on: FailOn) -> str:
    """What was compared, the table, then what stands on one side only."""
    lines = [MARKER, f"### kvcalc: {text(conclusion(diff, fail_on))}", ""]
    if any(change.rows for change in diff.changed):
        lines += ["| model | quantity | base | head | difference | | changed |"]
        lines += ["|---|---|---:|---:|---:|---:|---|"]
        lines += [row for change in diff.changed for row in _rows(change, diff)]
        lines.append("")
    lines += [*_without_rows(diff), *_apart(diff)]
    lines += [f"- {text(note)}" for note in diff.base.notes]
    return "\n".join(lines).rstrip() + "\n"


def _rows(change: Change, diff: Diff) -> Iterator[str]:
    said = [code(field_line(field)) for field in (*change.fields, *change.limits)]
    if change.base_path != change.path:
        said.append(f"moved from {code(change.base_path)}")
    fields = "<br>".join(said)
    for number, row in enumerate(change.rows):
        first = number == 0
        cells = (
            f"**{text(change.model)}**{text(renamed(change))}" if first else "",
            words(row.quantity, diff.reference),
            value(row.quantity, row.base),
            value(row.quantity, row.head),
            difference(row),
            f"{percent(row)}{' (tolerated)' if row.tolerated else ''}",
            fields if first else "",
        )
        yield f"| {' | '.join(cells)} |"


def _without_rows(diff: Diff) -> Iterator[str]:
    """Models whose numbers stay: another name, or other limits."""
    for change in diff.changed:
        if not change.rows:
            said = ", ".join(code(field_line(field)) for field in change.limits)
            yield f"- {text(change.model)}{text(renamed(change))}: same numbers{'; ' if said else ''}{said}"


def _apart(diff: Diff) -> Iterator[str]:
    for word, models in (("added", diff.added), ("removed", diff.removed)):
        for each in models:
            yield f"- {word} **{text(each.model)}**: {', '.join(one_sided(each, diff.reference))}"
    for policy in diff.policies:
        said = ", ".join(code(field_line(field)) for field in policy.fields)
        yield f"- policy {code(policy.path)}: {said}"
    for broken in diff.broken:
        yield f"- not comparable: the {broken.side} of {code(broken.path)} is no sound spec"
        for problem in broken.problems:
            yield f"  - {text(problem_line(problem))}"
