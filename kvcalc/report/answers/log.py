"""``kvcalc log``: what a start-up log says beside what kvcalc says, and what would help."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from kvcalc.logs.answer import Item, LogAnswer, Observation, Value
from kvcalc.report.sheet import (
    Answer,
    Bytes,
    Cell,
    Code,
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
    Toned,
    decimals,
    table,
)

KEYS = (
    "model", "part", "name", "line", "logged", "predicted", "difference", "least", "most", "agrees",
    "reason", "bytes", "change", "effect", "command",
)  # fmt: skip
# What people call a quantity.
_WORDS = {
    "available_bytes": "memory for the cache", "tokens": "cache size in tokens", "num_blocks": "blocks",
    "loaded_bytes": "weights as loaded", "file_bytes": "tensors of the file",
    "max_concurrency": "maximum concurrency", "bytes_per_request": "needed for one request",
    "estimated_max_model_len": "longest request that fits", "block_tokens": "tokens of a block",
    "padding_layers": "padding layers", "cpu_blocks": "blocks in RAM", "bytes": "size", "k_bytes": "K",
    "v_bytes": "V", "r_bytes": "convolutions", "s_bytes": "states", "cells": "cells",
}  # fmt: skip


def answer(found: LogAnswer) -> Answer:
    return Answer(lambda: [sheet(found)], lambda: to_object(found))


def to_object(found: LogAnswer) -> dict[str, Any]:
    """The contract's fields. Integers, but for a concurrency, which is a quotient."""
    return {
        "engine": {"name": found.engine, "version": found.version},
        "model": {"name": found.model, "source": "; ".join(found.source), "spec": found.path},
        "flags": dict(found.flags),
        "observations": [_observation(each) for each in found.observations],
        "advice": [
            {"change": each.change, "effect": each.effect, "command": each.command}
            for each in found.advice
        ],
    }


def _observation(each: Observation) -> dict[str, Any]:
    return {
        "quantity": each.quantity,
        "line": each.line,
        "logged": _number(each.logged),
        "predicted": _number(each.predicted),
        "least": _number(each.least),
        "most": _number(each.most),
        "agrees": each.agrees,
        "reason": f"{each.of}: {each.reason}" if each.of else each.reason,
    }


def _number(value: Value | None) -> int | float | None:
    return float(value) if isinstance(value, Fraction) else value


def sheet(found: LogAnswer) -> Sheet:
    """The verdict, the figures, where the memory went, one request, what would help."""
    parts: list[Part] = [
        Line(_headline(found), tone="bad" if found.disagrees else "good", close=True)
    ]
    parts += [Line(each, close=True) for each in found.verdict]
    parts.append(_figures(found))
    if found.memory:
        parts.append(_items("memory", "what the memory went to", found.memory))
    if len(found.request) > 1:
        parts.append(_items("request", found.request_title or "one request", found.request))
    if found.advice:
        parts.append(_advice(found))
    if found.assumed:
        parts.append(Points(found.assumed, "taken for granted"))
    return Sheet(found.model, _subtitle(found), tuple(parts), found.notes, KEYS)


def _subtitle(found: LogAnswer) -> str:
    release = f" {found.version}" if found.version is not None else ""
    return f"a log of {found.words}{release}"


def _headline(found: LogAnswer) -> str:
    compared = [each for each in found.observations if each.agrees is not None]
    wrong = [each for each in compared if each.agrees is False]
    if wrong:
        lines = ", ".join(str(line) for line in sorted({each.line for each in wrong}))
        where = f"lines {lines}" if "," in lines else f"line {lines}"
        return f"{len(wrong)} of {len(compared)} figures are not what they should be: {where}."
    if not compared:
        return "Nothing in this log could be predicted."
    if len(compared) == 1:
        return "The log's figure is as it should be."
    return f"The log's {len(compared)} figures are as they should be."


def _figures(found: LogAnswer) -> Table:
    columns = (
        Column("line", "line"), Column("figure", "name"), Column("logged", "logged", right=True),
        Column("kvcalc", "predicted", right=True), Column("difference", "difference", right=True),
        Column(""), Column("why", "reason", wraps=True),
        Column(None, "least"), Column(None, "most"), Column(None, "agrees"),
    )  # fmt: skip
    rows = []
    for each in found.observations:
        name = _WORDS.get(each.quantity, each.quantity)
        cells = (
            Count(each.line),
            f"{name}, {each.of}" if each.of else name,
            _cell(each.quantity, each.logged),
            _cell(each.quantity, each.predicted),
            _difference(each),
            _mark(each),
            _why(each),
            _plain(each.least),
            _plain(each.most),
            {True: "true", False: "false", None: ""}[each.agrees],
        )
        rows.append(Row(cells))
    return Table("figure", columns, tuple(rows))


def _difference(each: Observation) -> Cell:
    """Logged less predicted; nothing where the log prints no more digits than agree."""
    if each.predicted is None:
        return None
    more = Fraction(each.logged) - Fraction(each.predicted)
    if each.quantity == "max_concurrency":
        return "none" if abs(more) * 200 <= 1 else Decimal(more, "x")
    if not more:
        return "none"
    size = each.quantity.endswith("bytes") or each.quantity == "bytes_per_request"
    if size and each.agrees:
        return "none"
    return ExactBytes(int(more), signed=True, after=" B") if size else Count(int(more), signed=True)


def _mark(each: Observation) -> Cell:
    if each.agrees is None:
        return None
    return Toned("agrees", "good") if each.agrees else Toned("differs", "bad")


def _why(each: Observation) -> str:
    """The reason, and the range where it says more than the value."""
    if each.least is None or each.most is None or each.least == each.most:
        return each.reason
    if each.quantity.endswith("bytes"):
        return each.reason
    shown = [
        decimals(value) if isinstance(value, Fraction) else f"{value:,}"
        for value in (each.least, each.most)
    ]
    return each.reason if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}: {each.reason}"


def _cell(quantity: str, value: Value | None) -> Cell:
    if value is None:
        return None
    if quantity == "max_concurrency":
        return Decimal(Fraction(value), "x", logged=True)
    if quantity.endswith("bytes") or quantity == "bytes_per_request":
        return Bytes(int(value), logged=True)
    return Count(int(value))


def _plain(value: Value | None) -> Cell:
    if value is None:
        return None
    return Decimal(value, "x") if isinstance(value, Fraction) else Count(value)


def _items(part: str, title: str, items: tuple[Item, ...]) -> Table:
    columns = (
        Column(title, "name"), Column("", right=True), Column("bytes", "bytes"), Column("line", "line"),
        Column("", "reason", wraps=True),
    )  # fmt: skip
    rows = []
    for each in items:
        line = Count(each.line) if each.line else None
        cells = (each.name, Bytes(each.bytes, logged=True), ExactBytes(each.bytes), line, each.why)
        rows.append(Row(cells, depth=each.depth))
    return table(part, columns, rows)


def _advice(found: LogAnswer) -> Table:
    columns = (
        Column("what would help most", "change", wraps=True), Column("its effect", "effect", wraps=True),
        Column(None, "command"),
    )  # fmt: skip
    return Table("advice", columns, tuple(_advised(found)))


def _advised(found: LogAnswer) -> Iterator[Row]:
    for each in found.advice:
        yield Row((Code(each.change), each.effect, Code(each.command)))
