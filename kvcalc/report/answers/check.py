"""``kvcalc check``: the problems of specs, errors first, and how many there are."""

from typing import Any

from kvcalc.checks.run import Report
from kvcalc.errors import Problem
from kvcalc.report.answers.error import problem_object
from kvcalc.report.findings.text import summary
from kvcalc.report.sheet import Answer, Code, Column, Count, Row, Sheet, Table
from kvcalc.spec.problems import RULES

KEYS = ("path", "line", "column", "severity", "code", "field", "message")
# What a step's summary shows; GitHub refuses one of more than 1 MiB, and nobody reads this many either.
MAX_ROWS = 200
_COLUMNS = (
    Column("", "severity"), Column("where"), Column("rule", "code"), Column("field", "field"),
    Column("problem", "message", wraps=True), Column(None, "path"), Column(None, "line"),
    Column(None, "column"),
)  # fmt: skip


def answer(reports: tuple[Report, ...]) -> Answer:
    """What was checked, and what was found."""
    return Answer(lambda: [sheet(reports)], lambda: to_object(reports))


def rules() -> Answer:
    """The rule table."""
    keys = ("code", "severity", "summary")
    columns = (Column("rule", "code"), Column("", "severity"), Column("", "summary", wraps=True))
    rows = tuple(Row((rule.code, rule.severity, rule.summary)) for rule in RULES.values())
    sheets = [Sheet("", "", (Table("", columns, rows, headed=False),), keys=keys)]
    return Answer(lambda: sheets, lambda: {
        "rules": [{key: getattr(rule, key) for key in keys} for rule in RULES.values()]
    })  # fmt: skip


def sheet(reports: tuple[Report, ...]) -> Sheet:
    """A table of the problems, errors first."""
    problems = [problem for report in reports for problem in report.errors]
    problems += [problem for report in reports for problem in report.warnings]
    table = Table("", _COLUMNS, tuple(map(_row, problems)), most=MAX_ROWS)
    said = summary(reports)
    parts = (table,) if problems else ()
    return Sheet("", "", parts, (), KEYS, said, f"kvcalc {said}")


def _row(problem: Problem) -> Row:
    where = f"{problem.path}:{problem.line}" if problem.line else problem.path
    return Row((
        RULES[problem.code].severity, Code(where), problem.code, Code(problem.field), problem.message,
        problem.path, Count(problem.line), Count(problem.column),
    ))  # fmt: skip


def to_object(reports: tuple[Report, ...]) -> dict[str, Any]:
    """Files, problems and their numbers. A problem of a whole file has line and column 0."""
    return {
        "files": [
            {
                "path": report.path,
                "name": report.spec.name if report.spec else None,
                "num_errors": len(report.errors),
                "num_warnings": len(report.warnings),
            }
            for report in reports
        ],
        "problems": [
            {**problem_object(problem), "severity": RULES[problem.code].severity}
            for report in reports
            for problem in report.problems
        ],
        "num_errors": sum(len(report.errors) for report in reports),
        "num_warnings": sum(len(report.warnings) for report in reports),
    }
