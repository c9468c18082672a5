"""``kvcalc verify --format json``."""

from typing import TypedDict

from kvcalc.proofs import Row


class Reduced(TypedDict):
    """A field that was made small for the proofs that run the model."""

    field: str
    true: int
    small: int


class Proof(TypedDict):
    """One proof.

    Fields:
        applies: false where there is nothing to prove; it counts as passed.
        unit: of the totals; null where outputs are compared.
        failures: a sentence for each difference.
    """

    name: str
    passed: bool
    applies: bool
    unit: str | None
    formula_total: int | None
    measured_total: int | None
    failures: list[str]
    notes: list[str]
    rows: list[Row]


class Model(TypedDict):
    """All proofs of one model. trouble: why they could not run."""

    model: str
    source: list[str]
    against: str
    device: str
    torch_version: str
    passed: bool
    trouble: str | None
    seconds: int
    plan: str
    made_small: list[Reduced]
    proofs: list[Proof]


class Verify(TypedDict):
    """Models in the order they were named."""

    passed: bool
    num_models: int
    num_passed: int
    models: list[Model]
