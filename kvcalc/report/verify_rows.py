"""The lines of a verification, shared by the table and the markdown."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcalc.verify.proofs import Proof, Row, Verification

ROW_HEADERS = ("tensor", "layers", "formula", "measured", "")
# More models than this are summarised; what failed is listed all the same.
DETAILED = 3


def verdict(proof: "Proof") -> str:
    """pass, FAIL, or n/a where there is nothing to prove."""
    if not proof.applies:
        return "n/a"
    return "pass" if proof.passed else "FAIL"


def headline(proof: "Proof") -> str:
    """The totals of a proof, or what it compared where it has none."""
    if proof.formula_total is None or proof.measured_total is None:
        return ""
    apart = proof.measured_total - proof.formula_total
    return (
        f"formula {proof.formula_total:,}, measured {proof.measured_total:,} {proof.unit}, "
        f"difference {apart:,}"
    )


def row_cells(row: "Row") -> tuple[str, ...]:
    """The cells of one tensor."""
    formula = f"{list(row.formula.shape)} {row.formula.dtype}" if row.formula else ""
    measured = f"{list(row.measured.shape)} {row.measured.dtype}" if row.measured else ""
    if row.formula == row.measured and row.passed:
        measured = "the same" if measured else ""
    note = row.note if row.passed else f"MISMATCH {row.note}".strip()
    return row.tensor, str(row.count), formula, measured, note


def scale(found: "Verification") -> str:
    """What was made small for the proofs that run the model."""
    if not found.changes:
        return "at true size"
    parts = [f"{path} {old:,} -> {new:,}" for path, old, new in found.changes]
    return "made small for the proofs that run: " + "; ".join(parts)


def summary_headers(results: "tuple[Verification, ...]") -> tuple[str, ...]:
    """The columns of the summary: a model, its totals, a verdict for each proof."""
    names = dict.fromkeys(
        proof.name for found in results if compared(found) for proof in found.proofs
    )
    return ("model", "parameters measured", "cache measured, bytes", *names)


def summary_rows(results: "tuple[Verification, ...]") -> Iterator[tuple[str, ...]]:
    """One row per model that there was something to compare with."""
    names = summary_headers(results)[3:]
    for found in filter(compared, results):
        proofs = {proof.name: proof for proof in found.proofs}
        totals = [proofs[name].measured_total if name in proofs else None
                  for name in ("parameters", "cache")]  # fmt: skip
        missing = "not run" if found.trouble else ""
        verdicts = [verdict(proofs[name]) if name in proofs else missing for name in names]
        counts = ["" if total is None else f"{total:,}" for total in totals]
        yield (found.model, *counts, *verdicts)


def compared(found: "Verification") -> bool:
    """Whether there was anything to compare the model with."""
    return bool(found.trouble) or any(proof.applies for proof in found.proofs)


def closing(results: "tuple[Verification, ...]") -> str:
    """How many models passed, and how many there was nothing to compare with."""
    held = [found for found in results if compared(found)]
    line = f"{sum(found.passed for found in held)} of {len(held)} models passed all proofs"
    apart = len(results) - len(held)
    return f"{line}; {apart} had nothing to compare with" if apart else line


def left_out(results: "tuple[Verification, ...]") -> Iterator[str]:
    """Every model that there was nothing to compare with, and why."""
    for found in results:
        if not compared(found):
            yield " ".join(note for proof in found.proofs for note in proof.notes)


def failures(results: "tuple[Verification, ...]") -> Iterator[str]:
    """Every difference with its model and proof."""
    for found in results:
        if found.trouble:
            yield f"{found.model}: {found.trouble}"
        for proof in found.proofs:
            for failure in proof.failures:
                yield f"{found.model}: {proof.name}: {failure}"
