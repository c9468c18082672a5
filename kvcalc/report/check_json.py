"""``kvcalc check`` as one JSON object."""

import json

from kvcalc.checks.run import Report
from kvcalc.errors import Problem
from kvcalc.spec.problems import RULES


def render(reports: tuple[Report, ...]) -> str:
    """Files, problems and their numbers. A problem of a whole file has line and column 0."""
    answer = {
        "schema_version": 1,
        "files": [
            {
                "path": report.path,
                "name": report.spec.name if report.spec else None,
                "num_errors": len(report.errors),
                "num_warnings": len(report.warnings),
            }
            for report in reports
        ],
        "problems": [_problem(problem) for report in reports for problem in report.problems],
        "num_errors": sum(len(report.errors) for report in reports),
        "num_warnings": sum(len(report.warnings) for report in reports),
    }
    return json.dumps(answer, indent=1, ensure_ascii=False) + "\n"


def render_rules() -> str:
    """The rule table."""
    rules = [
        {"code": rule.code, "severity": rule.severity, "summary": rule.summary}
        for rule in RULES.values()
    ]
    return json.dumps({"schema_version": 1, "rules": rules}, indent=1) + "\n"


def _problem(problem: Problem) -> dict[str, str | int]:
    return {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "message": problem.message,
        "code": problem.code,
        "severity": RULES[problem.code].severity,
    }
