"""The report's table of proofs: what ``kvcalc verify --format json`` wrote, for the page's models."""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from kvcalc.errors import FileError, UsageError
from kvcalc.frozen import frozen
from kvcalc.reading import at_most
from kvcalc.report.formats.json import SCHEMA_VERSION

# 'verify --all --format json' writes less than a tenth of it.
MAX_BYTES = 8 << 20


@frozen
class ProofLine:
    """One proof of one model. formula, measured: None where the proof compares no sizes."""

    model: str
    name: str
    verdict: str
    formula: int | None
    measured: int | None
    unit: str
    against: str


def read(path: Path) -> tuple[ProofLine, ...]:
    """The proofs of a file. Raises FileError, and UsageError where it is something else."""
    try:
        data = at_most(path, MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise FileError(f"{path} is larger than {MAX_BYTES} bytes: not what verify wrote")
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{path} is not UTF-8 text") from None
    try:
        return tuple(_lines(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"--proofs {path} does not hold what 'kvcalc verify MODEL... --format json' writes"
        ) from None


def _lines(answer: dict[str, Any]) -> Iterator[ProofLine]:
    if answer["schema_version"] != SCHEMA_VERSION:
        raise ValueError("another schema")
    for model in answer["models"]:
        against = f"{model['against']} on {model['device']}, torch {model['torch_version']}"
        name = str(model["model"])
        if model["trouble"]:
            yield ProofLine(name, "", str(model["trouble"]), None, None, "", against)
        for proof in model["proofs"]:
            verdict = "passed" if proof["passed"] else "failed"
            yield ProofLine(
                name,
                str(proof["name"]),
                verdict if proof["applies"] else "does not apply",
                _count(proof["formula_total"]),
                _count(proof["measured_total"]),
                str(proof["unit"] or ""),
                against,
            )


def _count(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError("not a count")


def rows(names: tuple[str, ...], proofs: tuple[ProofLine, ...]) -> Iterator[str]:
    """A row per proof of the page's models, and one for each model that was not proved."""
    for name in names:
        own = [proof for proof in proofs if proof.model == name]
        if not own:
            yield f'<tr><th scope="row">{escape(name)}</th><td colspan="5">not run</td></tr>\n'
        for proof in own:
            good = proof.verdict in ("passed", "does not apply")
            cells = (
                proof.name, _number(proof.formula, proof.unit), _number(proof.measured, proof.unit),
                proof.against, proof.verdict,
            )  # fmt: skip
            yield (
                f'<tr class="{"holds" if good else "differs"}"><th scope="row">{escape(name)}</th>'
                + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
                + "</tr>\n"
            )


def _number(value: int | None, unit: str) -> str:
    return "" if value is None else f"{value:,} {unit}".strip()
