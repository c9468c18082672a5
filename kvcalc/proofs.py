"""What a proof says: rows that hold the calculator's tensors against measured ones."""

from collections.abc import Iterable
from typing import Any

from kvcalc.frozen import frozen

# How many single differences a message lists before it counts the rest.
MOST_FAILURES = 12


@frozen
class Tensor:
    """A tensor as the calculator says it or as it was measured."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}, {self.bytes} bytes"


@frozen
class Row:
    """One tensor, or ``count`` equal ones: formula against measurement.

    formula, measured: None where one side does not have it, or where the proof compares no sizes.
    note: what the proof found, in words.
    """

    tensor: str
    count: int
    passed: bool
    formula: Tensor | None = None
    measured: Tensor | None = None
    note: str = ""


@frozen
class Proof:
    """One proof.

    Fields:
        applies: false where there is nothing to prove; it counts as passed.
        unit: of the totals; null where outputs are compared.
        failures: a sentence for each difference.
    """

    name: str
    passed: bool
    applies: bool = True
    unit: str | None = None
    formula_total: int | None = None
    measured_total: int | None = None
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@frozen
class Verification:
    """All proofs of one model.

    changes: what was made small for the proofs that run the model: (field, true size, small size).
    plan: how many tokens were run, in words.
    trouble: why the proofs could not run; empty when they did.
    """

    model: str
    source: tuple[str, ...]
    device: str
    against: str
    torch_version: str
    proofs: tuple[Proof, ...]
    changes: tuple[tuple[str, int, int], ...] = ()
    plan: str = ""
    seconds: int = 0
    trouble: str = ""

    @property
    def passed(self) -> bool:
        return not self.trouble and all(proof.passed for proof in self.proofs)


def proved(name: str, rows: Iterable[Row], failures: list[str], **more: Any) -> Proof:
    """The outcome of a proof; without differences it passed. more: its unit, totals and notes."""
    return Proof(name, not failures, failures=_limited(failures), rows=tuple(rows), **more)


def _limited(failures: list[str]) -> tuple[str, ...]:
    """The first differences, and how many more there are."""
    if len(failures) <= MOST_FAILURES:
        return tuple(failures)
    return (*failures[:MOST_FAILURES], f"and {len(failures) - MOST_FAILURES} more differences")


def spans(indices: tuple[int, ...]) -> str:
    """``0-4,6`` for 0, 1, 2, 3, 4, 6."""
    parts: list[str] = []
    start = before = indices[0]
    for index in (*indices[1:], None):
        if index == before + 1:
            before = index
            continue
        parts.append(str(start) if start == before else f"{start}-{before}")
        if index is not None:
            start = before = index
    return ",".join(parts)
