"""``kvcalc check --format json``."""

from typing import TypedDict


class File(TypedDict):
    """A file that was read; name is its model's, null where it could not be read."""

    path: str
    name: str | None
    num_errors: int
    num_warnings: int


class Found(TypedDict):
    """A problem with how grave it is.

    Fields:
        code: the rule, as ``kvcalc check --rules`` lists them.
    """

    code: str
    path: str
    line: int
    column: int
    field: str
    message: str
    severity: str


class Check(TypedDict):
    """Specs and policies that were checked."""

    files: list[File]
    problems: list[Found]
    num_errors: int
    num_warnings: int


class Rule(TypedDict):
    """What check knows."""

    code: str
    severity: str
    summary: str


class Rules(TypedDict):
    """``kvcalc check --rules``."""

    rules: list[Rule]
