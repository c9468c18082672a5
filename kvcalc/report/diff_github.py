"""``kvcalc diff --format github``: an annotation for each model, at the field that changed."""

from collections.abc import Iterator

from kvcalc.checks.diff import Change, Diff, FailOn
from kvcalc.report.check_github import annotation
from kvcalc.report.check_text import problem_line
from kvcalc.report.diff_rows import (
    conclusion,
    difference,
    field_line,
    percent,
    renamed,
    value,
    words,
)


def render(diff: Diff, fail_on: FailOn) -> str:
    """Errors for what fails, warnings for other growth, notices for the rest; a line to end with."""
    found = [*_broken(diff, fail_on), *(_annotation(each, fail_on, diff) for each in diff.changed)]
    for word, models in (("added", diff.added), ("removed", diff.removed)):
        level = "error" if fail_on == "any" else "notice"
        for each in models:
            title = f"kvcalc diff: {each.model} {word}"
            found.append((level, annotation(level, title, title=title, file=each.path)))
    for policy in diff.policies:
        title = f"kvcalc diff: {policy.path} changed"
        message = "\n".join([title, *(field_line(field) for field in policy.fields)])
        line = next((field.line for field in policy.fields), 0)
        found.append(
            ("notice", annotation("notice", message, title=title, file=policy.path, line=line))
        )
    order = ("error", "warning", "notice")
    found.sort(key=lambda pair: order.index(pair[0]))
    return "\n".join([*(line for _, line in found), conclusion(diff)]) + "\n"


def _annotation(change: Change, fail_on: FailOn, diff: Diff) -> tuple[str, str]:
    beyond = [row for row in change.rows if not row.tolerated]
    grows = any(row.delta > 0 for row in beyond)
    fails = {"any": bool(beyond), "increase": grows, "none": False}[fail_on]
    level = "error" if fails else "warning" if grows else "notice"
    lines = [
        f"{words(row.quantity, diff.reference)}: {value(row.quantity, row.base)} -> "
        f"{value(row.quantity, row.head)} ({difference(row)}{', ' if row.base else ''}{percent(row)})"
        for row in change.rows
    ]
    lines += [field_line(field) for field in (*change.fields, *change.limits)]
    title = f"kvcalc diff: {change.model}{renamed(change)}"
    line = next((field.line for field in (*change.fields, *change.limits)), 0)
    message = "\n".join([f"{change.path}: {change.model}{renamed(change)}", *lines])
    return level, annotation(level, message, title=title, file=change.path, line=line)


def _broken(diff: Diff, fail_on: FailOn) -> Iterator[tuple[str, str]]:
    for each in diff.broken:
        fails = fail_on == "any" or (fail_on == "increase" and each.side == "head")
        level = "error" if fails else "warning"
        title = f"kvcalc diff: the {each.side} of {each.path} is no sound spec"
        first = each.problems[0] if each.problems else None
        line = first.line if first is not None and each.side == "head" else 0
        message = "\n".join([title, *(problem_line(problem) for problem in each.problems)])
        yield level, annotation(level, message, title=title, file=each.path, line=line)
