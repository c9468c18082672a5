"""An error as the JSON object that the command-line contract promises."""

import json

from kvcalc.errors import KvcalcError


def render(error: KvcalcError) -> str:
    """One JSON object with the error's kind, message and problems."""
    problems = [
        {
            "code": problem.code,
            "path": problem.path,
            "line": problem.line,
            "column": problem.column,
            "field": problem.field,
            "message": problem.message,
        }
        for problem in error.problems
    ]
    return json.dumps(
        {
            "schema_version": 1,
            "error": {"kind": error.kind, "message": error.message, "problems": problems},
        },
        indent=1,
    )
