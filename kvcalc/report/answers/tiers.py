"""``kvcalc tiers``: what sessions cost beyond the GPU."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from kvcalc.report.cells import Bytes, Count, Decimal, ExactBytes
from kvcalc.report.objects import tiers as objects
from kvcalc.report.objects.common import named
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import (
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
from kvcalc.tiers.answer import Tiers
from kvcalc.units import format_bytes, format_tokens

KEYS = (
    "model", "part", "name", "unit", "unit_tokens", "unit_bytes", "session_units", "session_bytes",
    "kept_tokens", "bytes", "num_units", "tokens", "sessions", "move_seconds", "requests",
    "requests_bytes", "flag",
)  # fmt: skip


def to_object(found: Tiers) -> dict[str, Any]:
    """Bytes are of all ranks; seconds are quotients."""
    return filled(objects.Tiers, found, model=named(found.model, found.source, found.path))


def sheet(found: Tiers) -> Sheet:
    """A row for each tier, then how many sessions they hold."""
    about = (
        f"a session of {format_tokens(found.context_tokens)} tokens on {found.ranks} "
        f"rank{'s' * (found.ranks > 1)}, {found.words} {found.version}: "
        f"{format_bytes(found.gpu_bytes)} on the GPU, its need is {format_bytes(found.logical_bytes)}"
    )
    parts: list[Part] = [Line(about, close=True), _costs(found), *_holds(found)]
    flags = [tier.flag for tier in found.tiers if tier.flag]
    if flags:
        parts.append(Line(", ".join(flags), lead="set by"))
    parts.append(Points(found.rules, "rules applied"))
    return Sheet(found.model, "", tuple(parts), found.notes, KEYS)


def _costs(found: Tiers) -> Table:
    rows = rows_of(_COSTS, found.tiers)
    if found.transfer is not None:
        cells = ("to another server", "blocks", None, None, Bytes(found.gpu_bytes), None,
                 Count(found.context_tokens), _time(found.transfer), Decimal(found.transfer))  # fmt: skip
        rows = (Row(cells), *rows)
    return table("tier", _COSTS, rows)


def _holds(found: Tiers) -> Iterator[Table]:
    said = [each for each in found.tiers if (each.bytes, each.requests_bytes) != (None, None)]
    if said:
        yield table("held", _HOLDS, rows_of(_HOLDS, said))


def _time(seconds: Fraction) -> str:
    """``1.34 s``, ``67.11 ms``: two decimals of the unit that keeps a number of at least 1."""
    for unit, name in ((1, "s"), (1000, "ms")):
        if seconds * unit >= 1 or unit == 1000:
            hundredths = round(seconds * unit * 100)
            return f"{hundredths // 100:,}.{hundredths % 100:02d} {name}"
    raise AssertionError


_COSTS = (
    Column("tier", "name"), Column("stored in", "unit", of=lambda tier: f"{tier.unit}s"),
    Column("tokens", "unit_tokens", Count),
    Column("bytes of one", "unit_bytes", lambda size: ExactBytes(size, after=" B")),
    Column("a session", "session_bytes", Bytes), Column("of them", "session_units", Count),
    Column("tokens kept", "kept_tokens", Count),
    Column("to move one", "", _time, lambda tier: tier.move_seconds, right=True),
    Column(None, "move_seconds", Decimal),
)  # fmt: skip
_HOLDS = (
    Column("what it holds", "name"), Column("size", "bytes", Bytes),
    Column("units", "num_units", Count), Column("tokens", "tokens", Count),
    Column("sessions", "sessions", Count), Column("requests of the file", "requests", Count),
    Column("all of them take", "requests_bytes", Bytes), Column(None, "flag"),
)  # fmt: skip
