"""What every command prints with ``--format json`` when it could not run (exit 2)."""

from typing import Literal, TypedDict

from kvcalc.errors import Problem


class Error(TypedDict):
    """What was wrong."""

    kind: Literal["spec", "unsupported", "not_found", "usage", "missing_extra", "io"]
    message: str
    problems: list[Problem]


class Failure(TypedDict):
    """Instead of an answer."""

    error: Error
