"""``kvcalc fit --together``: several models on the same devices, each with its share, and what is left."""

from typing import Any

from kvcalc.deployment.together import Together
from kvcalc.report.answers.fit import by_engine
from kvcalc.report.cells import Bytes, Count
from kvcalc.report.objects import fit as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Line, Sheet, rows_of, table
from kvcalc.units import format_bytes, format_tokens

KEYS = ("model", "dtype", "weights_bytes", "bytes", "percent", "command")


def _share(percent: int) -> str:
    return f"--gpu-memory-utilization {percent // 100}.{percent % 100:02d}"


_COLUMNS = (
    Column("model", "model"), Column("weights in", "dtype"),
    Column("weights", "weights_bytes", Bytes, lambda part: part.weight_bytes),
    Column("takes", "bytes", Bytes, lambda part: part.num_bytes),
    Column("share of the device", "", _share, lambda part: part.percent, right=True),
    Column(None, "percent", Count), Column(None, "command"),
)  # fmt: skip


def to_object(found: Together) -> dict[str, Any]:
    """``bytes`` is what a model takes of each device, null where that is more than all of it;
    ``percent`` the engine's share, null for an engine that is told none."""
    request = found.request
    return filled(
        objects.Together, found,
        engine={"name": request.engine, "version": found.version},
        parallelism=request.layout if request.layout.devices > 1 else None,
    )  # fmt: skip


def sheet(found: Together) -> Sheet:
    """A row for each model, and what is left under them."""
    request, workload, device = found.request, found.request.workload, found.device
    contexts = {part.context_tokens for part in found.parts}
    tokens = ("up to " if len(contexts) > 1 else "") + format_tokens(max(contexts))
    layout, size = request.layout, format_bytes(device.bytes)
    on, each = f"{device.name} ({size})", ""
    if layout.devices > 1:
        on, each = f"{layout.devices} x {device.name} ({size} each, {layout})", " on each"
    about = (
        f"{tokens} tokens x {workload.batch_size} each, together on {on}{by_engine(found)}{found.why}: "
        f"{found.verdict}"
    )
    if found.free_bytes is None:
        left = "one of them does not fit alone"
    elif found.free_bytes < 0:
        left = f"{format_bytes(-found.free_bytes)} are missing{each}"
    else:
        left = f"{format_bytes(found.free_bytes)} are left{each}"
    shares = table("", _COLUMNS, rows_of(_COLUMNS, found.parts))
    return Sheet("", "", (Line("", lead=about), shares, Line(left)), found.notes, KEYS)
