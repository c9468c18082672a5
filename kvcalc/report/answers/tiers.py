"""``kvcalc tiers``: what sessions cost beyond the GPU."""

from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from kvcalc.report.sheet import (
    Answer,
    Bytes,
    Column,
    Count,
    Decimal,
    ExactBytes,
    Line,
    Part,
    Points,
    Row,
    Sheet,
    Table,
    table,
)
from kvcalc.tiers.answer import Tier, Tiers
from kvcalc.units import format_bytes, format_tokens

KEYS = (
    "model", "part", "name", "unit", "unit_tokens", "unit_bytes", "session_units", "session_bytes",
    "kept_tokens", "bytes", "num_units", "tokens", "sessions", "move_seconds", "requests",
    "requests_bytes", "flag",
)  # fmt: skip


def answer(found: Tiers, source: tuple[str, ...] = (), path: str = "") -> Answer:
    """source, path: the spec's, as ``estimate`` states them."""
    return Answer(lambda: [sheet(found)], lambda: to_object(found, source, path))


def to_object(found: Tiers, source: tuple[str, ...], path: str) -> dict[str, Any]:
    """Bytes are of all ranks; seconds are quotients."""
    return {
        "model": {"name": found.model, "source": "; ".join(source), "spec": path},
        "engine": {"name": found.engine, "version": found.version},
        "workload": {"context_tokens": found.context_tokens, "tensor": found.ranks},
        "gpu": {
            "session_bytes": found.gpu_bytes,
            "logical_bytes": found.logical_bytes,
            "transfer_seconds": _seconds(found.transfer),
        },
        "tiers": [_object(tier) for tier in found.tiers],
        "num_requests": found.num_requests,
        "rules": list(found.rules),
        "notes": list(found.notes),
    }


def _object(tier: Tier) -> dict[str, Any]:
    values = asdict(tier)
    values["move_seconds"] = _seconds(values.pop("move"))
    values["flag"] = tier.flag or None
    return values


def _seconds(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


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
    columns = (
        Column("tier", "name"), Column("stored in", "unit"), Column("tokens", "unit_tokens"),
        Column("bytes of one", "unit_bytes"), Column("a session", "session_bytes"),
        Column("of them", "session_units"), Column("tokens kept", "kept_tokens"),
        Column("to move one", right=True), Column(None, "move_seconds"),
    )  # fmt: skip
    rows = []
    if found.transfer is not None:
        rows.append(Row(("to another server", "blocks", None, None, Bytes(found.gpu_bytes), None,
                         Count(found.context_tokens), _time(found.transfer),
                         Decimal(found.transfer))))  # fmt: skip
    for tier in found.tiers:
        rows.append(Row((
            tier.name, f"{tier.unit}s", _count(tier.unit_tokens), ExactBytes(tier.unit_bytes, after=" B"),
            Bytes(tier.session_bytes), Count(tier.session_units), Count(tier.kept_tokens),
            None if tier.move is None else _time(tier.move),
            None if tier.move is None else Decimal(tier.move),
        )))  # fmt: skip
    return table("tier", columns, rows)


def _holds(found: Tiers) -> Iterator[Table]:
    columns = (
        Column("what it holds", "name"), Column("size", "bytes"), Column("units", "num_units"),
        Column("tokens", "tokens"), Column("sessions", "sessions"),
        Column("requests of the file", "requests"), Column("all of them take", "requests_bytes"),
        Column(None, "flag"),
    )  # fmt: skip
    rows = [
        Row((
            tier.name, None if tier.bytes is None else Bytes(tier.bytes), _count(tier.num_units),
            _count(tier.tokens), _count(tier.sessions), _count(tier.requests),
            None if tier.requests_bytes is None else Bytes(tier.requests_bytes), tier.flag,
        ))
        for tier in found.tiers
        if tier.bytes is not None or tier.requests_bytes is not None
    ]  # fmt: skip
    if rows:
        yield table("held", columns, rows)


def _count(number: int | None) -> Count | None:
    return None if number is None else Count(number)


def _time(seconds: Fraction) -> str:
    """``1.34 s``, ``67.11 ms``: two decimals of the unit that keeps a number of at least 1."""
    for unit, name in ((1, "s"), (1000, "ms")):
        if seconds * unit >= 1 or unit == 1000:
            hundredths = round(seconds * unit * 100)
            return f"{hundredths // 100:,}.{hundredths % 100:02d} {name}"
    raise AssertionError
