"""``kvcalc verify --format json``."""

from typing import TypedDict

from kvcalc.proofs import Proof


class Reduced(TypedDict):
    """A field that was made small for the proofs that run the model."""

    field: str
    true: int
    small: int


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
