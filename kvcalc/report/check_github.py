"""``kvcalc check --format github``: workflow commands, which GitHub shows as annotations.

Syntax and escapes: github.com/actions/toolkit, packages/core/src/command.ts. GitHub shows ten errors
and ten warnings of a step, so the errors come first; its log shows a command's message only, so the
message says where, too.
"""

from pathlib import Path

from kvcalc.checks.run import Report
from kvcalc.report.check_places import from_root
from kvcalc.report.check_text import problem_line, summary
from kvcalc.spec.problems import RULES


def render(reports: tuple[Report, ...], root: Path) -> str:
    """An annotation a line, errors first, and the line that ``--format text`` ends with."""
    problems = [problem for report in reports for problem in report.errors]
    problems += [problem for report in reports for problem in report.warnings]
    lines = [
        annotation(
            RULES[problem.code].severity,
            problem_line(problem),
            title=f"kvcalc {problem.code}: {RULES[problem.code].summary}",
            file=from_root(problem.path, root),
            line=problem.line,
            col=problem.column,
        )
        for problem in problems
    ]
    return "\n".join([*lines, summary(reports)]) + "\n"


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
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
