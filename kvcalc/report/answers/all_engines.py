"""``kvcalc estimate --engine all``: every accounting side by side, refusals included."""

from collections.abc import Iterator
from typing import Any

from kvcalc.deployment.estimation import AllEngines
from kvcalc.engines import engine_of
from kvcalc.engines.workload import Row as Accounting
from kvcalc.report.answers import estimate as estimate_answer
from kvcalc.report.answers.engines import subtitle
from kvcalc.report.cells import Bar, Bytes, ExactBytes, Times, Toned
from kvcalc.report.objects import estimate as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Row, Sheet, Table, for_csv
from kvcalc.units import format_bytes

KEYS = ("model", "engine", "version", "cause", "bytes", "why")


def to_object(found: AllEngines) -> dict[str, Any]:
    """The logical object, with all accountings beside it, refusals included."""
    estimate = found.need
    result = estimate_answer.to_object(estimate)
    result["engine"] = "all"
    result["engines"] = [_engine_object(row, estimate.cache.bytes) for row in found.engines]
    return result


def _engine_object(row: Accounting, logical_bytes: int) -> dict[str, Any]:
    return filled(
        objects.Accounting, row,
        supported=row.refusal is None,
        beyond_logical_bytes=None if row.bytes is None else row.bytes - logical_bytes,
        per_device_bytes=row.per_device_bytes or None,
    )  # fmt: skip


def sheet(found: AllEngines) -> Sheet:
    """An accounting a row, and beside it what it adds to the need; csv has each cause by itself."""
    estimate, rows = found.need, found.engines
    columns = (
        Column("accounting"), Column("cache"), Column("bytes"), Column("ratio"), Column(""),
        Column("beyond the need", wraps=True),
    )  # fmt: skip
    largest = max(row.bytes or 0 for row in rows)
    shown = tuple(_accounting(row, estimate.cache.bytes, largest) for row in rows)
    causes = tuple(line for row in rows for line in _causes(row))
    parts = (Table("", columns, shown), Table("", for_csv(*KEYS[1:]), causes))
    return Sheet(estimate.spec.name, subtitle(estimate, ""), parts, estimate.assumptions, KEYS)


def _accounting(row: Accounting, logical: int, largest: int) -> Row:
    name = engine_of(row.engine).named(row.version)
    if row.bytes is None:
        return Row((name, "-", None, None, None, Toned(row.refusal or "", "warn")))
    why = ", ".join(
        f"{'+' if waste.bytes > 0 else '-'}{format_bytes(abs(waste.bytes))} {waste.cause}"
        for waste in row.waste
    )
    return Row((
        Toned(name, "strong"), Bytes(row.bytes), ExactBytes(row.bytes), Times(row.bytes, logical),
        Bar(row.bytes, largest, 10, "magenta"), Toned(why, "faint"),
    ))  # fmt: skip


def _causes(row: Accounting) -> Iterator[Row]:
    about = (row.engine, row.version or "")
    if row.bytes is None:
        yield Row((*about, "refused", None, row.refusal or ""))
        return
    yield Row((*about, "held", Bytes(row.bytes), ""))
    for waste in row.waste:
        yield Row((*about, waste.cause, Bytes(waste.bytes), waste.why))
