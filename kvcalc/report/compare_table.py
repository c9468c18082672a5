"""``kvcalc compare`` for people: models side by side, ratios and bars at a glance."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kvcalc.memory.grid import Row
from kvcalc.report.text import bar, ratio
from kvcalc.report.text import render as to_text
from kvcalc.units import format_bytes, format_tokens


def render(rows: list[Row], first_label: str, notes: Sequence[str]) -> str:
    """One table; columns that never change are said once, above it. first_label: of the ratios."""
    varies = {
        "encoder": any(row.encoder_tokens for row in rows),
        "context": len({row.context_tokens for row in rows}) > 1,
        "batch": len({row.batch_size for row in rows}) > 1,
        "kv": len({row.kv_dtype for row in rows}) > 1,
    }
    first = rows[0]
    question = [
        f"{format_tokens(first.context_tokens)} tokens" if not varies["context"] else "",
        f"batch {first.batch_size}" if not varies["batch"] else "",
        f"cache in {first.kv_dtype}" if not varies["kv"] else "",
        f"ratio to {first_label}" if len(rows) > 1 else "",
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("model", overflow="fold", style="bold")
    table.add_column("attention", overflow="fold")
    if varies["kv"]:
        table.add_column("cache in", no_wrap=True)
    if varies["context"]:
        table.add_column("context", justify="right", no_wrap=True)
    if varies["encoder"]:
        table.add_column("encoder", justify="right", no_wrap=True)
    if varies["batch"]:
        table.add_column("batch", justify="right", no_wrap=True)
    for header in ("weights", "cache", "per token", "ratio"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    largest = max(row.cache_bytes for row in rows)
    for row in rows:
        table.add_row(*_cells(row, varies, largest))
    title = Text(", ".join(part for part in question if part), style="dim")
    above = [title, ""] if title.plain else []
    below = ["", *(Text(f"- {note}", "dim") for note in notes)] if notes else []
    return to_text(*above, table, *below)


def _cells(row: Row, varies: dict[str, bool], largest: int) -> list[Any]:
    cells: list[Any] = [row.model, row.attention]
    if varies["kv"]:
        cells.append(row.kv_dtype)
    if varies["context"]:
        cells.append(format_tokens(row.context_tokens))
    if varies["encoder"]:
        cells.append(format_tokens(row.encoder_tokens) if row.encoder_tokens else "")
    if varies["batch"]:
        cells.append(str(row.batch_size))
    cells += [
        format_bytes(row.weight_bytes),
        format_bytes(row.cache_bytes),
        format_bytes(row.bytes_per_token),
        ratio(row.cache_bytes, row.first_cache_bytes),
        Text(bar(row.cache_bytes, largest, 10), "magenta"),
    ]
    return cells
