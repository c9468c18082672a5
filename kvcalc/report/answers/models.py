"""``kvcalc models``: one line per shipped model."""

from pathlib import Path
from typing import Any

from kvcalc.memory.listing import Wanted, chosen
from kvcalc.memory.shipped import records
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

KEYS = (
    "name", "family", "parameters", "active_parameters", "attention", "bytes_per_token",
    "fixed_bytes_per_sequence", "hub_id", "next_token_bytes", "context", "modality", "released",
)  # fmt: skip
_COLUMNS = (
    Column("model", "name"), Column("family", "family"), Column("parameters", "parameters"),
    Column(None, "active_parameters"), Column("attention", "attention", wraps=True),
    Column("a token at 8k", "next_token_bytes"), Column(None, "bytes_per_token"),
    Column("windows and states", "fixed_bytes_per_sequence"), Column(None, "hub_id"),
    Column("context", "context"), Column(None, "modality"), Column("released", "released"),
)  # fmt: skip


def answer(found: dict[str, Path], question: Wanted) -> Answer:
    """found: name -> file. question: which of them, in which order."""
    rows = chosen(records(found.values()), question)
    return Answer(
        lambda: [Sheet("", "", (Table("", _COLUMNS, tuple(map(_row, rows))),), keys=KEYS)],
        lambda: {"models": rows},
    )


def _row(record: dict[str, Any]) -> Row:
    cells: tuple[Cell, ...] = (
        Toned(record["name"], "strong"),
        record["family"],
        RoundCount(record["parameters"]),
        Count(record["active_parameters"]),
        record["attention"],
        Bytes(record["next_token_bytes"]),
        Bytes(record["bytes_per_token"]),
        Bytes(record["fixed_bytes_per_sequence"]),
        record["hub_id"],
        "" if record["context"] is None else Count(record["context"]),
        record["modality"],
        record["released"] or "",
    )
    return Row(cells)
