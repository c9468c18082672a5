"""``kvcalc verify``: a table per model, or one line per model where there are many."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kvcalc.report.cells import Count, Tone, Toned
from kvcalc.report.objects import verify as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import (
    Answer,
    Column,
    Line,
    Part,
    Points,
    Row,
    Sheet,
    Table,
    rows_of,
    table,
)

if TYPE_CHECKING:
    from kvcalc.proofs import Proof, Tensor, Verification
    from kvcalc.proofs import Row as Compared

KEYS = (
    "model", "proof", "tensor", "verdict", "unit", "layers", "formula", "measured", "note",
)  # fmt: skip
_TONES: dict[str, Tone] = {"pass": "good", "FAIL": "bad", "n/a": "faint", "not run": "bad"}
# More models than this are summarised; what failed is listed all the same.
DETAILED = 3


def answer(results: "tuple[Verification, ...]") -> Answer:
    """All models, the differences last, where a reader ends."""
    return Answer(
        lambda: list(sheets(results)), lambda: to_object(results), lambda: records(results)
    )


def to_object(results: "tuple[Verification, ...]") -> dict[str, Any]:
    """Models in the order they were named."""
    passed = [found.passed for found in results]
    return {
        "passed": all(passed),
        "num_models": len(results),
        "num_passed": sum(passed),
        "models": [_model(found) for found in results],
    }


def _model(found: "Verification") -> dict[str, Any]:
    small = [{"field": path, "true": old, "small": new} for path, old, new in found.changes]
    return filled(objects.Model, found, made_small=small)


def records(results: "tuple[Verification, ...]") -> "Iterator[Sequence[object]]":
    """A line with the totals of each proof, then one for each tensor that it compared."""
    yield KEYS
    for found in results:
        for proof in found.proofs:
            start = (found.model, proof.name)
            totals = (proof.formula_total, proof.measured_total)
            said = "; ".join((*proof.failures, *proof.notes))
            yield (*start, "", _verdict(proof), proof.unit or "", "", *totals, said)
            for row in proof.rows:
                word = "pass" if row.passed else "FAIL"
                shapes = (_shape(row.formula), _shape(row.measured))
                yield (*start, row.tensor, word, "", row.count, *shapes, row.note)


def sheets(results: "tuple[Verification, ...]") -> "Iterator[Sheet]":
    """One for each of a few models; then what failed, and how many passed."""
    parts: list[Part] = []
    if len(results) <= DETAILED:
        yield from map(_sheet, results)
    else:
        parts.append(_summary(results))
        apart = tuple(_left_out(results))
        parts += [Points(apart)] if apart else []
    wrong = tuple(
        Line(line, tone="bad", close=bool(n)) for n, line in enumerate(_failures(results))
    )
    yield Sheet("", "", (*parts, *wrong, Line("", lead=_closing(results))))


def _sheet(found: "Verification") -> Sheet:
    parts: list[Part] = []
    for proof in found.proofs:
        parts.append(Line(f"{_verdict(proof)}  {_headline(proof)}", lead=proof.name))
        parts += [Line(f"  {note}", tone="faint", close=True) for note in proof.notes]
        if proof.rows:
            rows = rows_of(_TENSORS, proof.rows)
            parts.append(table(proof.name, _TENSORS, rows, close=True))
    if found.plan:
        parts += [Line(found.plan, tone="faint"), Line(_scale(found), tone="faint", close=True)]
    subtitle = f"against {found.against} on {found.device}, torch {found.torch_version}"
    return Sheet(found.model, subtitle, tuple(parts))


def _verdict(proof: "Proof") -> str:
    """pass, FAIL, or n/a where there is nothing to prove."""
    if not proof.applies:
        return "n/a"
    return "pass" if proof.passed else "FAIL"


def _headline(proof: "Proof") -> str:
    """The totals of a proof, or what it compared where it has none."""
    if proof.formula_total is None or proof.measured_total is None:
        return ""
    apart = proof.measured_total - proof.formula_total
    return (
        f"formula {proof.formula_total:,}, measured {proof.measured_total:,} {proof.unit}, "
        f"difference {apart:,}"
    )


def _shape(tensor: "Tensor | None") -> str:
    return f"{list(tensor.shape)} {tensor.dtype}" if tensor else ""


def _measured(row: "Compared") -> str:
    same = row.measured and row.formula == row.measured and row.passed
    return "the same" if same else _shape(row.measured)


def _scale(found: "Verification") -> str:
    """What was made small for the proofs that run the model."""
    if not found.changes:
        return "at true size"
    parts = [f"{path} {old:,} -> {new:,}" for path, old, new in found.changes]
    return "made small for the proofs that run: " + "; ".join(parts)


def _summary(results: "tuple[Verification, ...]") -> Table:
    """One row per model that there was something to compare with; a verdict for each proof."""
    held = [found for found in results if _compared(found)]
    names = dict.fromkeys(proof.name for found in held for proof in found.proofs)
    columns = [Column("model", wraps=True), Column("parameters measured"),
               Column("cache measured, bytes"), *map(Column, names)]  # fmt: skip
    rows = []
    for found in held:
        proofs = {proof.name: proof for proof in found.proofs}
        totals = [proofs[name].measured_total if name in proofs else None
                  for name in ("parameters", "cache")]  # fmt: skip
        missing = "not run" if found.trouble else ""
        verdicts = [_verdict(proofs[name]) if name in proofs else missing for name in names]
        counts = (None if total is None else Count(total) for total in totals)
        toned = (Toned(word, _TONES.get(word, "")) for word in verdicts)
        rows.append(Row((found.model, *counts, *toned)))
    return Table("", tuple(columns), tuple(rows))


def _compared(found: "Verification") -> bool:
    """Whether there was anything to compare the model with."""
    return bool(found.trouble) or any(proof.applies for proof in found.proofs)


def _closing(results: "tuple[Verification, ...]") -> str:
    """How many models passed, and how many there was nothing to compare with."""
    held = [found for found in results if _compared(found)]
    line = f"{sum(found.passed for found in held)} of {len(held)} models passed all proofs"
    apart = len(results) - len(held)
    return f"{line}; {apart} had nothing to compare with" if apart else line


def _left_out(results: "tuple[Verification, ...]") -> Iterator[str]:
    """Every model that there was nothing to compare with, and why."""
    for found in results:
        if not _compared(found):
            yield " ".join(note for proof in found.proofs for note in proof.notes)


def _failures(results: "tuple[Verification, ...]") -> Iterator[str]:
    """Every difference with its model and proof."""
    for found in results:
        if found.trouble:
            yield f"{found.model}: {found.trouble}"
        for proof in found.proofs:
            for failure in proof.failures:
                yield f"{found.model}: {proof.name}: {failure}"


_TENSORS = (
    Column("tensor", of=lambda row: row.tensor, wraps=True),
    Column("layers", of=lambda row: Count(row.count)),
    Column("formula", of=lambda row: _shape(row.formula), wraps=True),
    Column("measured", of=_measured, wraps=True),
    Column("", of=lambda row: row.note if row.passed else f"MISMATCH {row.note}".strip(), wraps=True),
)  # fmt: skip
