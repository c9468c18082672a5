"""``kvcalc fit --gpus all``: one model on every accelerator that is known."""

from typing import Any

from kvcalc.deployment.everywhere import Everywhere
from kvcalc.report.answers import fit as one
from kvcalc.report.answers.fit import by_engine, fewest, in_words
from kvcalc.report.cells import Bytes, Count
from kvcalc.report.sheet import Column, Line, Sheet, Table, rows_of
from kvcalc.units import format_bytes

KEYS = (
    "model", "device", "memory_bytes", "measured", "verdict", "longest_context", "largest_batch",
    "fewest_devices",
)  # fmt: skip


def to_object(found: Everywhere) -> list[dict[str, Any]]:
    """Each accelerator's, in the catalogue's order."""
    return [one.to_object(fit) for fit in found.each]


def sheet(found: Everywhere) -> Sheet:
    """One row per accelerator, for the request on one device of it."""
    fits = found.each
    first = fits[0]
    asked = first.request.workload
    about = (
        f"{first.model}: {asked.context_tokens:,} tokens x {asked.batch_size} in "
        f"{asked.cache.kv_name}, weights in {asked.dtype}{by_engine(first)}"
    )
    # The notes that hold on every accelerator.
    notes = tuple(note for note in first.notes if all(note in fit.notes for fit in fits))
    table = Table("", _COLUMNS, rows_of(_COLUMNS, fits))
    if not all(fit.device.measured for fit in fits):
        notes = ("*: the vendor's figure; the others were read by programs", *notes)
    return Sheet("", "", (Line("", lead=about), table), notes, KEYS)


_COLUMNS = (
    Column("accelerator", "device", of=lambda fit: fit.device.name),
    Column("memory", right=True,
           of=lambda fit: format_bytes(fit.device.bytes) + "*" * (not fit.device.measured)),
    Column("one device", "verdict"),
    Column("longest context", "longest_context",
           of=lambda fit: Count(fit.longest_context) if fit.longest_context
           else in_words(fit.longest_context, "")),
    Column("largest batch", of=lambda fit: in_words(fit.largest_batch, ""), right=True),
    Column("fewest devices", of=lambda fit: fewest(fit, short=True), wraps=True),
    Column(None, "model"), Column(None, "memory_bytes", Bytes, lambda fit: fit.device.bytes),
    Column(None, "measured", of=lambda fit: "yes" if fit.device.measured else "no"),
    Column(None, "largest_batch", Count, lambda fit: fit.largest_batch or None),
    Column(None, "fewest_devices", Count, lambda fit: fit.fewest and fit.fewest.devices),
)  # fmt: skip
