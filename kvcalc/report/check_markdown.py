"""``kvcalc check --format markdown``: for a step's summary or a comment on a merge request."""

from kvcalc.checks.run import Report
from kvcalc.errors import Problem
from kvcalc.report.check_text import summary
from kvcalc.spec.problems import RULES

# GitHub refuses a summary of more than 1 MiB; nobody reads this many either.
MAX_ROWS = 200


def render(reports: tuple[Report, ...]) -> str:
    """What was checked, and a table of the problems, errors first."""
    problems = [problem for report in reports for problem in report.errors]
    problems += [problem for report in reports for problem in report.warnings]
    words = summary(reports)
    lines = [f"### kvcalc {words}", ""]
    if problems:
        lines += ["| | where | rule | field | problem |", "|---|---|---|---|---|"]
        lines += [_row(problem) for problem in problems[:MAX_ROWS]]
        lines.append("")
    if len(problems) > MAX_ROWS:
        lines += [f"and {len(problems) - MAX_ROWS} more", ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(problem: Problem) -> str:
    where = f"{problem.path}:{problem.line}" if problem.line else problem.path
    cells = (
        RULES[problem.code].severity,
        code(where),
        problem.code,
        code(problem.field),
        text(problem.message),
    )
    return f"| {' | '.join(cells)} |"


def code(words: str) -> str:
    """Words of a file as code in a table's cell, whatever stands in them."""
    if not words:
        return ""
    words = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    # A backtick or a bar would end the code or the cell, even within it.
    return f"`{words}`".replace("|", "\\|") if "`" not in words else text(words)


def text(words: str) -> str:
    """Words as text in a table's cell: nothing in them is markup."""
    words = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~@#" else c for c in words)
