"""``kvcalc check``: the problems of specs, errors first, and how many there are."""

from typing import Any

from kvcalc.checks.run import Report
from kvcalc.errors import Problem
from kvcalc.report.cells import Code, Count
from kvcalc.report.findings.text import errors_first, summary
from kvcalc.report.objects import check as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Answer, Column, Sheet, Table, rows_of
from kvcalc.spec.problems import RULES

KEYS = ("path", "line", "column", "severity", "code", "field", "message")
# What a step's summary shows; GitHub refuses one of more than 1 MiB, and nobody reads this many either.
MAX_ROWS = 200


def _where(problem: Problem) -> str:
    return f"{problem.path}:{problem.line}" if problem.line else problem.path


_COLUMNS = (
    Column("", "severity", of=lambda problem: RULES[problem.code].severity),
    Column("where", "", Code, _where),
    Column("rule", "code"), Column("field", "field", Code),
    Column("problem", "message", wraps=True), Column(None, "path"), Column(None, "line", Count),
    Column(None, "column", Count),
)  # fmt: skip


def answer(reports: tuple[Report, ...]) -> Answer:
    """What was checked, and what was found."""
    return Answer(lambda: [sheet(reports)], lambda: to_object(reports))


def rules() -> Answer:
    """The rule table."""
    keys = ("code", "severity", "summary")
    columns = (Column("rule", "code"), Column("", "severity"), Column("", "summary", wraps=True))
    rows = rows_of(columns, RULES.values())
    sheets = [Sheet("", "", (Table("", columns, rows, headed=False),), keys=keys)]
    return Answer(lambda: sheets, lambda: filled(objects.Rules, rules=RULES.values()))


def sheet(reports: tuple[Report, ...]) -> Sheet:
    """A table of the problems, errors first."""
    problems = errors_first(reports)
    table = Table("", _COLUMNS, rows_of(_COLUMNS, problems), most=MAX_ROWS)
    said = summary(reports)
    parts = (table,) if problems else ()
    return Sheet("", "", parts, (), KEYS, said, f"kvcalc {said}")


def to_object(reports: tuple[Report, ...]) -> dict[str, Any]:
    """Files, problems and their numbers. A problem of a whole file has line and column 0."""
    problems = [problem for report in reports for problem in report.problems]
    return filled(
        objects.Check,
        files=reports,
        problems=[
            filled(objects.Found, each, severity=RULES[each.code].severity) for each in problems
        ],
        num_errors=sum(report.num_errors for report in reports),
        num_warnings=sum(report.num_warnings for report in reports),
    )
