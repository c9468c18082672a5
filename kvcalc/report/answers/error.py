"""An error as the object that the command-line contract promises."""

from typing import Any

from kvcalc.errors import KvcalcError, Problem
from kvcalc.report.sheet import Answer


def answer(error: KvcalcError) -> Answer:
    """For programs alone: people read the message on stderr."""
    return Answer(lambda: [], lambda: to_object(error))


def to_object(error: KvcalcError) -> dict[str, Any]:
    """The error's kind, message and problems."""
    problems = [problem_object(problem) for problem in error.problems]
    return {"error": {"kind": error.kind, "message": error.message, "problems": problems}}


def problem_object(problem: Problem) -> dict[str, str | int]:
    """A problem of a file; line and column are 0 where all of it is meant."""
    return {
        "code": problem.code,
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "message": problem.message,
    }
