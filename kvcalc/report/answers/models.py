"""``kvcalc models``: one line per shipped model."""

from pathlib import Path

from kvcalc.memory.listing import Wanted, chosen
from kvcalc.memory.shipped import records
from kvcalc.report.cells import Bytes, Count, RoundCount, Toned
from kvcalc.report.sheet import Answer, Column, Sheet, Table, rows_of

KEYS = (
    "name", "family", "parameters", "active_parameters", "attention", "bytes_per_token",
    "fixed_bytes_per_sequence", "hub_id", "published_parameters", "config_read", "next_token_bytes",
    "context", "modality", "released",
)  # fmt: skip


def _strong(name: str) -> Toned:
    return Toned(name, "strong")


def _word(holds: bool) -> str:
    return "yes" if holds else "no"


_COLUMNS = (
    Column("model", "name", _strong), Column("family", "family"),
    Column("parameters", "parameters", RoundCount), Column(None, "active_parameters", Count),
    Column("attention", "attention", wraps=True), Column("a token at 8k", "next_token_bytes", Bytes),
    Column(None, "bytes_per_token", Bytes),
    Column("windows and states", "fixed_bytes_per_sequence", Bytes), Column(None, "hub_id"),
    Column(None, "published_parameters", Count), Column(None, "config_read", _word),
    Column("context", "context", Count), Column(None, "modality"), Column("released", "released"),
)  # fmt: skip


def answer(found: dict[str, Path], question: Wanted) -> Answer:
    """found: name -> file. question: which of them, in which order."""
    rows = chosen(records(found.values()), question)
    return Answer(
        lambda: [Sheet("", "", (Table("", _COLUMNS, rows_of(_COLUMNS, rows)),), keys=KEYS)],
        lambda: {"models": rows},
    )
