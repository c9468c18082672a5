"""``kvcalc models``: one line per shipped model."""

from pathlib import Path
from typing import Any

from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.cache import cache_function
from kvcalc.memory.grid import kinds
from kvcalc.memory.weights import summarise
from kvcalc.report.sheet import (
    Answer,
    Bytes,
    Cell,
    Column,
    Count,
    RoundCount,
    Row,
    Sheet,
    Table,
    Toned,
)
from kvcalc.spec.loader import load_spec_file

KEYS = (
    "name", "family", "parameters", "active_parameters", "attention", "bytes_per_token",
    "fixed_bytes_per_sequence", "hub_id",
)  # fmt: skip
_COLUMNS = (
    Column("model", "name"), Column("family", "family"), Column("parameters", "parameters"),
    Column(None, "active_parameters"), Column("attention", "attention", wraps=True),
    Column("a token", "bytes_per_token"), Column("fixed", "fixed_bytes_per_sequence"),
    Column(None, "hub_id"),
)  # fmt: skip


def answer(found: dict[str, Path]) -> Answer:
    """found: name -> file."""

    def rows() -> list[dict[str, Any]]:
        return [_record(name, path) for name, path in found.items()]

    return Answer(
        lambda: [Sheet("", "", (Table("", _COLUMNS, tuple(map(_row, rows()))),), keys=KEYS)],
        lambda: {"models": rows()},
    )


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


def _row(record: dict[str, Any]) -> Row:
    cells: tuple[Cell, ...] = (
        Toned(record["name"], "strong"),
        record["family"],
        RoundCount(record["parameters"]),
        Count(record["active_parameters"]),
        record["attention"],
        Bytes(record["bytes_per_token"]),
        Bytes(record["fixed_bytes_per_sequence"]),
        record["hub_id"],
    )
    return Row(cells)
