"""``kvcalc fit --together``: several models on one device, each with its share, and what is left."""

from typing import Any

from kvcalc.deployment.together import Part, Together
from kvcalc.report.sheet import Answer, Bytes, Column, Count, Line, Row, Sheet, Table
from kvcalc.units import format_bytes, format_tokens

KEYS = ("model", "dtype", "weights_bytes", "bytes", "percent", "command")
_SHARE = Column("share of the device", right=True)
_COLUMNS = (
    Column("model", "model"), Column("weights in", "dtype"), Column("weights", "weights_bytes"),
    Column("takes", "bytes"), _SHARE, Column(None, "percent"),
    Column(None, "command"),
)  # fmt: skip


def answer(found: Together) -> Answer:
    return Answer(lambda: [sheet(found)], lambda: to_object(found))


def to_object(found: Together) -> dict[str, Any]:
    """``bytes`` is what a model takes of the device, null where that is more than all of it;
    ``percent`` the engine's share, null for an engine that is told none."""
    device, workload = found.device, found.request.workload
    return {
        "device": {"name": device.name, "bytes": device.bytes, "measured": device.measured},
        "engine": {"name": found.request.engine, "version": found.version},
        "workload": {
            "context_tokens": workload.context_tokens,
            "batch_size": workload.batch_size,
            "kv_dtype": workload.cache.kv_name,
        },
        "fits": found.verdict != "does not fit",
        "verdict": found.verdict,
        "models": [_object(part) for part in found.parts],
        "free_bytes": found.free_bytes,
    }


def _object(part: Part) -> dict[str, Any]:
    return {
        "model": part.model,
        "dtype": part.dtype,
        "weights_bytes": part.weight_bytes,
        "bytes": part.num_bytes,
        "percent": part.percent,
        "command": part.command,
    }


def sheet(found: Together) -> Sheet:
    """A row for each model, and what is left under them."""
    request, workload, device = found.request, found.request.workload, found.device
    engine = "" if found.version is None else f", {request.engine_words} {found.version}"
    about = (
        f"{format_tokens(workload.context_tokens)} tokens x {workload.batch_size} each, together on "
        f"{device.name} ({format_bytes(device.bytes)}){engine}{found.why}: {found.verdict}"
    )
    if found.free_bytes is None:
        left = "one of them does not fit alone"
    elif found.free_bytes < 0:
        left = f"{format_bytes(-found.free_bytes)} are missing"
    else:
        left = f"{format_bytes(found.free_bytes)} are left"
    # A title over nothing says nothing.
    shared = any(part.percent is not None for part in found.parts)
    columns = tuple(
        Column(None) if column is _SHARE and not shared else column for column in _COLUMNS
    )
    table = Table("", columns, tuple(map(_row, found.parts)))
    return Sheet("", "", (Line("", lead=about), table, Line(left)), (), KEYS)


def _row(part: Part) -> Row:
    taken = None if part.num_bytes is None else Bytes(part.num_bytes)
    share = (
        ""
        if part.percent is None
        else f"--gpu-memory-utilization {part.percent // 100}.{part.percent % 100:02d}"
    )
    percent = None if part.percent is None else Count(part.percent)
    return Row(
        (part.model, part.dtype, Bytes(part.weight_bytes), taken, share, percent, part.command)
    )
