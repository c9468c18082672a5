"""``kvcalc compare``: models side by side, ratios and bars at a glance."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from kvcalc.memory.grid import Point, Series, rows
from kvcalc.memory.grid import Row as PointRow
from kvcalc.report.cells import Bar, Bytes, Count, Times, Tokens, Toned
from kvcalc.report.sheet import Answer, Column, Line, Part, Shared, Sheet, Table, rows_of
from kvcalc.units import format_tokens

KEYS = (
    "model", "attention", "kv_dtype", "context_tokens", "encoder_tokens", "batch_size",
    "parameters", "weight_bytes", "cache_bytes", "bytes_per_token", "total_bytes", "cache_ratio_to_first",
    "next_token_bytes",
)  # fmt: skip


_COLUMNS = (
    Column("model", "model", lambda name: Toned(name, "strong"), wraps=True),
    Column("attention", "attention", wraps=True), Column("cache in", "kv_dtype"),
    Column("context", "context_tokens", Tokens),
    Column("encoder", "encoder_tokens", Tokens, lambda point: point.encoder_tokens or None),
    Column("batch", "batch_size", Count), Column("weights", "weight_bytes", Bytes),
    Column("cache", "cache_bytes", Bytes), Column("per token", "next_token_bytes", Bytes),
    Column("ratio", "cache_ratio_to_first",
           of=lambda point: Times(point.cache_bytes, point.first_cache_bytes)),
)  # fmt: skip


def answer(points: Iterable[Point], first: str, notes: Sequence[str]) -> Answer:
    """points: read once, by the format that is asked for. first: what the ratios are to."""
    return Answer(
        lambda: [sheet(list(rows(points)), first, notes)],
        lambda: to_object(points, first, notes),
        lambda: records(points),
    )


def to_object(points: Iterable[Point], first: str, notes: Sequence[str]) -> dict[str, Any]:
    """Rows of numbers, one by one as they are computed."""
    found = (_object(*point) for point in points)
    return {"ratio_to": first, "rows": found, "assumptions": list(notes)}


def _object(series: Series, batch: int, first: int) -> dict[str, Any]:
    cache = series.sequence_bytes * batch
    ratio = decimal_ratio(cache, first)
    return {
        "model": series.model,
        "attention": series.attention,
        "kv_dtype": series.kv_dtype,
        "context_tokens": series.context_tokens,
        "encoder_tokens": series.encoder_tokens,
        "batch_size": batch,
        "parameters": series.parameters,
        "weight_bytes": series.weight_bytes,
        "cache_bytes": cache,
        "bytes_per_token": series.bytes_per_token,
        "total_bytes": series.weight_bytes + cache,
        # Six decimals, rounded in integers; JSON has no other number for them.
        "cache_ratio_to_first": float(ratio) if ratio else None,
        "next_token_bytes": series.next_token_bytes,
    }


def records(points: Iterable[Point]) -> Iterator[Sequence[object]]:
    """In the order of ``KEYS``, the ratio as a decimal of six digits. A hundred thousand points are
    quicker without cells, and with what a series says once."""
    yield KEYS
    for series, batch, first in points:
        place, weights = _shared(series)
        cache = series.sequence_bytes * batch
        yield (place, batch, weights, cache, series.bytes_per_token, series.weight_bytes + cache,
               decimal_ratio(cache, first), series.next_token_bytes)  # fmt: skip


@lru_cache(1024)
def _shared(series: Series) -> tuple[Shared, Shared]:
    """The columns before the batch, and those after it."""
    place = (series.model, series.attention, series.kv_dtype, series.context_tokens,
             series.encoder_tokens)  # fmt: skip
    return Shared(place), Shared((series.parameters, series.weight_bytes))


def decimal_ratio(part: int, whole: int) -> str:
    """``0.131000``: six decimals in integer arithmetic; empty when there is nothing to divide by."""
    if whole <= 0:
        return ""
    if part == whole:
        return "1.000000"
    millionths = (part * 10**6 + whole // 2) // whole
    return f"{millionths // 10**6}.{millionths % 10**6:06d}"


def sheet(points: list[PointRow], first: str, notes: Sequence[str]) -> Sheet:
    """One table; what is the same in every row is said once, above it."""
    one = points[0]
    contexts = {point.context_tokens for point in points}
    batches = {point.batch_size for point in points}
    formats = {point.kv_dtype for point in points}
    question = [
        f"{format_tokens(one.context_tokens)} tokens" if len(contexts) == 1 else "",
        f"batch {one.batch_size}" if len(batches) == 1 else "",
        f"cache in {one.kv_dtype}" if len(formats) == 1 else "",
        f"ratio to {first}" if len(points) > 1 else "",
    ]
    shown = {
        "kv_dtype": len(formats) > 1,
        "context_tokens": len(contexts) > 1,
        "encoder_tokens": any(point.encoder_tokens for point in points),
        "batch_size": len(batches) > 1,
    }
    largest = max(point.cache_bytes for point in points)
    bar = Column("", of=lambda point: Bar(point.cache_bytes, largest, 10, "magenta"))
    columns = (*(each for each in _COLUMNS if shown.get(each.key, True)), bar)
    said = ", ".join(part for part in question if part)
    parts: list[Part] = [Line(said, tone="faint")] if said else []
    parts.append(Table("", columns, rows_of(columns, points)))
    return Sheet("", "", tuple(parts), tuple(notes), KEYS)
