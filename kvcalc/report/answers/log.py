"""``kvcalc log``: what a start-up log says beside what kvcalc says, and what would help."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from kvcalc.logs.answer import Item, LogAnswer, Observation, Value
from kvcalc.report.answers.capacity import as_logged, span
from kvcalc.report.cells import Cell, Code, Count, Decimal, ExactBytes, Toned
from kvcalc.report.objects import log as objects
from kvcalc.report.objects.common import named
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Line, Part, Points, Sheet, Table, rows_of, table

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


def to_object(found: LogAnswer) -> dict[str, Any]:
    """The contract's fields. Integers, but for a concurrency, which is a quotient."""
    return filled(
        objects.Log, found,
        model=named(found.model, found.source, found.path),
        observations=[
            filled(objects.LogFigure, each, reason=f"{each.of}: {each.reason}" if each.of else each.reason)
            for each in found.observations
        ],
    )  # fmt: skip


def sheet(found: LogAnswer) -> Sheet:
    """The verdict, the figures, where the memory went, one request, what would help."""
    parts: list[Part] = [
        Line(_headline(found), tone="bad" if found.disagrees else "good", close=True)
    ]
    parts += [Line(each, close=True) for each in found.verdict]
    parts.append(Table("figure", _FIGURES, rows_of(_FIGURES, found.observations)))
    if found.memory:
        parts.append(_items("memory", "what the memory went to", found.memory))
    if len(found.request) > 1:
        parts.append(_items("request", found.request_title or "one request", found.request))
    if found.advice:
        parts.append(Table("advice", _ADVICE, rows_of(_ADVICE, found.advice)))
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


def _name(each: Observation) -> str:
    name = _WORDS.get(each.quantity, each.quantity)
    return f"{name}, {each.of}" if each.of else name


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
    if each.quantity.endswith("bytes"):
        return each.reason
    between = span(each.least, each.most)
    return f"{between}: {each.reason}" if between else each.reason


def _cell(quantity: str, value: Value | None) -> Cell:
    if value is None:
        return None
    if quantity == "max_concurrency":
        return Decimal(Fraction(value), "x", logged=True)
    if quantity.endswith("bytes") or quantity == "bytes_per_request":
        return as_logged(int(value))
    return Count(int(value))


def _plain(value: Value) -> Cell:
    return Decimal(value, "x") if isinstance(value, Fraction) else Count(value)


def _items(part: str, title: str, items: tuple[Item, ...]) -> Table:
    columns = (
        Column(title, "name"), Column("", "", as_logged, lambda each: each.bytes, right=True),
        Column("bytes", "bytes", ExactBytes), Column("line", "line", Count, lambda each: each.line or None),
        Column("", "reason", of=lambda each: each.why, wraps=True),
    )  # fmt: skip
    rows = [replace(row, depth=item.depth)
            for row, item in zip(rows_of(columns, items), items, strict=True)]  # fmt: skip
    return table(part, columns, rows)


_FIGURES = (
    Column("line", "line", Count), Column("figure", "name", of=_name),
    Column("logged", "logged", of=lambda each: _cell(each.quantity, each.logged), right=True),
    Column("kvcalc", "predicted", of=lambda each: _cell(each.quantity, each.predicted), right=True),
    Column("difference", "difference", of=_difference, right=True), Column("", "", of=_mark),
    Column("why", "reason", of=_why, wraps=True), Column(None, "least", _plain),
    Column(None, "most", _plain),
    Column(None, "agrees", lambda agrees: str(agrees).lower()),
)  # fmt: skip
_ADVICE = (
    Column("what would help most", "change", Code, wraps=True),
    Column("its effect", "effect", wraps=True), Column(None, "command", Code),
)  # fmt: skip
