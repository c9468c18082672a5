"""``kvcalc models``: one line per shipped model."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.cache import cache_function
from kvcalc.memory.grid import kinds
from kvcalc.memory.weights import summarise
from kvcalc.spec.loader import load_spec_file
from kvcalc.units import format_bytes, format_count

FIELDS = (
    "name", "family", "parameters", "active_parameters", "attention", "bytes_per_token",
    "fixed_bytes_per_sequence", "hub_id",
)  # fmt: skip


def _record(name: str, path: Path) -> dict[str, Any]:
    spec = load_spec_file(path)
    parameters = summarise(spec)
    function = cache_function(spec, CacheDtypes())
    tokens = spec.encoder.tokens if spec.encoder and spec.encoder.tokens else 0
    return {
        "name": name,
        "family": path.parent.name,
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        "attention": kinds(spec),
        "bytes_per_token": function.bytes_per_token,
        "fixed_bytes_per_sequence": function.fixed_bytes(tokens),
        "hub_id": spec.hub_id[0] if spec.hub_id else "",
    }


def render(found: dict[str, Path], format: str) -> str:
    """The list in one of the output formats. found: name -> file."""
    records = [_record(name, path) for name, path in found.items()]
    if format == "json":
        return json.dumps({"schema_version": 1, "models": records}, indent=1) + "\n"
    if format == "csv":
        buffer = StringIO()
        writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return buffer.getvalue()
    headers = ("model", "family", "parameters", "attention", "a token", "fixed")
    rows = [
        (
            record["name"],
            record["family"],
            format_count(record["parameters"]),
            record["attention"],
            format_bytes(record["bytes_per_token"]),
            format_bytes(record["fixed_bytes_per_sequence"]),
        )
        for record in records
    ]
    if format == "markdown":
        lines = [f"| {' | '.join(headers)} |", "|---|---|---:|---|---:|---:|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
    from rich.table import Table

    from kvcalc.report.text import render as to_text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header in headers:
        words = header in ("model", "family", "attention")
        table.add_column(header, justify="left" if words else "right", no_wrap=not words,
                         overflow="fold", style="bold" if header == "model" else "")  # fmt: skip
    for row in rows:
        table.add_row(*row)
    return to_text(table)
