"""``kvcalc check`` and ``diff --format github``: workflow commands, which GitHub shows as annotations.

Syntax and escapes: github.com/actions/toolkit, packages/core/src/command.ts. GitHub shows ten errors
and ten warnings of a step, so the errors come first; its log shows a command's message only, so the
message says where, too.
"""

from collections.abc import Iterator

from kvcalc.checks.diff import Change, Diff, FailOn, is_loosened
from kvcalc.checks.limits import LOOSER
from kvcalc.report.answers.diff import (
    conclusion,
    difference,
    field_line,
    one_sided,
    percent,
    policy_title,
    renamed,
    value,
    words,
)
from kvcalc.report.findings import Checked
from kvcalc.report.findings.places import from_root
from kvcalc.report.findings.text import errors_first, problem_line, summary
from kvcalc.spec.problems import RULES


def render(checked: Checked) -> str:
    """An annotation a line, errors first, and the line that ``--format text`` ends with."""
    lines = [
        annotation(
            RULES[problem.code].severity,
            problem_line(problem),
            title=f"kvcalc {problem.code}: {RULES[problem.code].summary}",
            file=from_root(problem.path, checked.root),
            line=problem.line,
            col=problem.column,
        )
        for problem in errors_first(checked.reports)
    ]
    return "\n".join([*lines, _data(summary(checked.reports))]) + "\n"


def annotation(
    level: str, message: str, *, title: str, file: str, line: int = 0, col: int = 0
) -> str:
    """One workflow command. level: error, warning or notice. Line 0 means the whole file."""
    properties = {"title": title, "file": file}
    if line:
        properties |= {"line": str(line), **({"col": str(col)} if col else {})}
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {said}::{_data(message)}"


def _data(text: str) -> str:
    """Text that is no line, and so no command, of its own."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def diff_annotations(diff: Diff, fail_on: FailOn) -> str:
    """Errors for what fails, warnings for what grows or is loosened all the same, notices for the
    rest; a line to end with.
    """
    found = [*_broken(diff, fail_on), *(_annotation(each, fail_on, diff) for each in diff.changed)]
    level = "error" if fail_on == "any" else "notice"
    for word, each in diff.one_sided:
        title = f"kvcalc diff: {each.model} {word}"
        message = f"{title}: {', '.join(one_sided(each, diff.reference))}"
        found.append((level, annotation(level, message, title=title, file=each.path)))
    for policy in diff.policies:
        title = f"kvcalc diff: {policy_title(policy)}"
        message = "\n".join([title, *(field_line(field) for field in policy.fields)])
        # The first field that lets a model take more, where there is one.
        first = min(policy.fields, key=lambda field: field.effect not in LOOSER)
        level = _level(policy.fails(fail_on), is_loosened(policy.fields))
        said = annotation(level, message, title=title, file=policy.path, line=first.line)
        found.append((level, said))
    order = ("error", "warning", "notice")
    found.sort(key=lambda pair: order.index(pair[0]))
    return "\n".join([*(line for _, line in found), _data(conclusion(diff, fail_on))]) + "\n"


def _annotation(change: Change, fail_on: FailOn, diff: Diff) -> tuple[str, str]:
    level = _level(change.fails(fail_on), change.fails("increase"))
    lines = [
        f"{words(row.quantity, diff.reference)}: {value(row.quantity, row.base)} -> "
        f"{value(row.quantity, row.head)} ({difference(row)}{', ' if row.base else ''}{percent(row)})"
        f"{', tolerated' if row.tolerated else ''}"
        for row in change.rows
    ]
    lines += [field_line(field) for field in (*change.fields, *change.limits)]
    title = f"kvcalc diff: {change.model}{renamed(change)}"
    message = "\n".join([f"{change.path}: {change.model}{renamed(change)}", *lines])
    return level, annotation(level, message, title=title, file=change.path, line=change.line)


def _level(fails: bool, grows: bool) -> str:
    return "error" if fails else "warning" if grows else "notice"


def _broken(diff: Diff, fail_on: FailOn) -> Iterator[tuple[str, str]]:
    for each in diff.broken:
        fails = fail_on == "any" or (fail_on == "increase" and each.side == "head")
        level = "error" if fails else "warning"
        title = f"kvcalc diff: the {each.side} of {each.path} is no sound spec"
        first = each.problems[0] if each.problems else None
        line = first.line if first is not None and each.side == "head" else 0
        message = "\n".join([title, *(problem_line(problem) for problem in each.problems)])
        yield level, annotation(level, message, title=title, file=each.path, line=line)
