"""``kvcalc diff --format json``."""

from typing import Annotated, Any, TypedDict

from kvcalc.checks.diff import NotComparable


class Base(TypedDict):
    """What was compared with: a revision and its commit, null where it is a folder."""

    revision: str | None
    commit: str | None


class DiffWorkload(TypedDict):
    """What was asked of both sides; null: each model's own."""

    context_tokens: int | None
    batch_size: int
    dtype: str | None
    kv_dtype: str


class FieldChange(TypedDict):
    """A field that is another now.

    Fields:
        base: its value there; null where it was not said.
        line: where it stands in the file; 0 where it is gone.
        effect: changed; or tightened, loosened, removed and the like, of a limit.
    """

    field: str
    base: Any
    head: Any
    line: int
    effect: str


class Quantity(TypedDict):
    """A figure on both sides.

    Fields:
        unit: bytes, parameters or tokens.
        percent: null where the base is 0.
        tolerated: whether the policy lets it grow by so much.
    """

    quantity: str
    unit: str
    base: int
    head: int
    delta: int
    percent: float | None
    tolerated: bool


class Change(TypedDict):
    """A model that both sides have. base_model, base_path: its name and file there."""

    model: str
    path: str
    base_model: str
    base_path: str
    fields: list[FieldChange]
    limits: list[FieldChange]
    quantities: list[Quantity]


class Value(TypedDict):
    """A figure of one side."""

    quantity: str
    unit: str
    value: int


class OneSided(TypedDict):
    """A model that one side has."""

    model: str
    path: str
    quantities: list[Value]


class Policy(TypedDict):
    """A kvcalc.yaml that is another now."""

    path: str
    fields: list[FieldChange]


class Diff(TypedDict):
    """Two sides. failed says what the exit status says, failing why."""

    base: Base
    workload: Annotated[DiffWorkload, "reference"]
    fail_on: str
    failed: bool
    failing: list[str]
    changed: list[Change]
    added: list[OneSided]
    removed: list[OneSided]
    not_comparable: Annotated[list[NotComparable], "broken"]
    policies: list[Policy]
    notes: Annotated[list[str], "base.notes"]
