"""What every command prints with ``--format json`` when it could not run (exit 2)."""

from typing import Literal, TypedDict


class Problem(TypedDict):
    """A problem of a file; line and column are 0 for the whole file.

    Fields:
        code: the rule, as ``kvcalc check --rules`` lists them.
    """

    code: str
    path: str
    line: int
    column: int
    field: str
    message: str


class Error(TypedDict):
    """What was wrong."""

    kind: Literal["spec", "unsupported", "not_found", "usage", "missing_extra", "io"]
    message: str
    problems: list[Problem]


class Failure(TypedDict):
    """Instead of an answer."""

    error: Error
