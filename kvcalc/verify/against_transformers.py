"""The comparison with a transformers twin, in the form that all verifications are reported in."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import torch

from kvcalc.proofs import Proof, Row, Verification, proved
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.twins.comparison import Report, verify_against_transformers


def verify(spec: ModelSpec) -> Verification:
    """Build the twin at true size on the meta device and compare it with the spec's inventory."""
    started = time.monotonic()
    with _quiet():
        report = verify_against_transformers(spec)
    return Verification(
        model=spec.name,
        source=spec.source,
        device="meta",
        against=f"transformers ({report.versions})" if report.versions else "transformers",
        torch_version=torch.__version__,
        proofs=tuple(_proofs(report)),
        seconds=round(time.monotonic() - started),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's advice about kernels for speed: nothing is computed here."""
    try:
        logging = import_module("transformers.utils.logging")
    except ImportError:
        yield
        return
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _proofs(report: Report) -> list[Proof]:
    if report.status == "no_twin":
        return [Proof("twin", True, notes=(report.reason,), applies=False)]
    notes = tuple(note for note in (report.difference, *report.unconfirmed) if note)
    totals = {
        "parameters": ("parameters", report.parameters),
        "cache": ("bytes", report.cache_bytes),
    }
    proofs = []
    for name in dict.fromkeys(row.proof for row in report.rows):
        rows = [row for row in report.rows if row.proof == name]
        failures = [f"{row.what}: formula {row.formula}, measured {row.measured}"
                    for row in rows if not row.passed]  # fmt: skip
        unit, total = totals.get(name, (None, None))
        proofs.append(proved(
            name,
            [Row(row.what, 1, row.passed, note=f"formula {row.formula}, measured {row.measured}")
             for row in rows],
            failures, notes=notes if name == "parameters" else (), unit=unit,
            formula_total=None if failures else total, measured_total=total,
        ))  # fmt: skip
    return proofs
