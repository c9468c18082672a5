"""``kvcalc check`` as text: a problem a line, as compilers print them, and one line to end with."""

from kvcalc.checks.run import Report
from kvcalc.errors import Problem, one_line
from kvcalc.report.findings import Checked
from kvcalc.spec.problems import RULES


def render(checked: Checked) -> str:
    """Every problem as ``path:line:column: CODE field: message``, and how many there are."""
    lines = [*map(problem_line, checked.problems), summary(checked.reports)]
    return "\n".join(map(one_line, lines)) + "\n"


def problem_line(problem: Problem) -> str:
    """One problem; the whole file is meant where there is no line."""
    where = f"{problem.path}:{problem.line}:{problem.column}" if problem.line else problem.path
    field = f" {problem.field}" if problem.field else ""
    warning = " (warning)" if RULES[problem.code].severity == "warning" else ""
    return f"{where}: {problem.code}{field}: {problem.message}{warning}"


def errors_first(reports: tuple[Report, ...]) -> list[Problem]:
    """All problems, and the warnings after the errors."""
    errors = [problem for report in reports for problem in report.errors]
    return errors + [problem for report in reports for problem in report.warnings]


def message(problem: Problem) -> str:
    """What is wrong, without where that is."""
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


def summary(reports: tuple[Report, ...]) -> str:
    """``checked 42 specs and kvcalc.yaml: 2 problems``."""
    errors = sum(len(report.errors) for report in reports)
    warnings = sum(len(report.warnings) for report in reports)
    found = _number(errors, "problem") if errors else "no problems"
    more = f", {_number(warnings, 'warning')}" if warnings else ""
    specs = sum(not report.is_policy for report in reports)
    policies = " and ".join(["", *(report.path for report in reports if report.is_policy)])
    return f"checked {_number(specs, 'spec')}{policies}: {found}{more}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
