"""``kvcalc capacity``: the engine's log lines, and beside them the reasons."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from kvcalc.engines.result import CapacityResult
from kvcalc.report.cells import Bytes, Cell, Count, Decimal, ExactBytes, Mebibytes, decimals
from kvcalc.report.objects.capacity import Capacity
from kvcalc.report.objects.common import named
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Points, Row, Sheet, Table, rows_of, table

KEYS = (
    "model", "part", "name", "value", "layers", "padding_layers", "block_tokens", "page_bytes",
    "blocks_per_request", "cells", "streams", "k_bytes", "v_bytes", "r_bytes", "s_bytes", "bytes",
    "of", "why",
)  # fmt: skip

_GROUPS = (
    Column("group", "name", of=lambda group: group.mechanism), Column("layers", "layers", Count),
    Column("padding", "padding_layers", Count, lambda group: group.padding_layers or None),
    Column("block", "", lambda tokens: f"{tokens} tokens", lambda group: group.block_tokens, right=True),
    Column(None, "block_tokens", Count),
    Column("page", "page_bytes", lambda size: ExactBytes(size, after=" B")),
    Column("blocks a request", "blocks_per_request", Count),
)  # fmt: skip
# In MiB, as llama.cpp prints them.
_CACHES = (
    Column("cache", "name", of=lambda cache: f"{cache.name} ({cache.type})"),
    Column("layers", "layers", Count), Column("cells", "cells", Count),
    Column("streams", "streams", Count), Column("K", "k_bytes", Mebibytes),
    Column("V", "v_bytes", Mebibytes), Column("R", "r_bytes", Mebibytes),
    Column("S", "s_bytes", Mebibytes), Column("bytes", "bytes", Mebibytes),
)  # fmt: skip
_WASTE = (
    Column("beyond the logical need", "name", of=lambda waste: waste.cause, wraps=True),
    Column("bytes", "bytes", Bytes),
    Column("of", "of", of=lambda waste: "a request" if waste.per_request else "the pool"),
    Column("why", "why", wraps=True),
)  # fmt: skip


def to_object(result: CapacityResult) -> dict[str, Any]:
    """The contract's fields first, then what explains them; what an engine lacks is null."""
    return filled(Capacity, result, model=named(result.model, result.source, result.path))


def sheet(result: CapacityResult) -> Sheet:
    """Pool, groups or caches, waste, rules and notes."""
    parts: list[Table | Points] = [_pool(result)]
    if result.groups:
        parts.append(table("group", _GROUPS, rows_of(_GROUPS, result.groups)))
    if result.caches:
        parts.append(table("cache", _CACHES, rows_of(_CACHES, result.caches)))
    if result.waste:
        parts.append(Table("waste", _WASTE, rows_of(_WASTE, result.waste)))
    if result.rules:
        parts.append(Points(result.rules, "rules applied"))
    subtitle = f"on {result.engine} {result.version}"
    return Sheet(result.model, subtitle, tuple(parts), result.notes, KEYS)


def _pool(result: CapacityResult) -> Table:
    columns = (Column("pool", "name", wraps=True), Column("", "value", right=True),
               Column("", wraps=True))  # fmt: skip
    return Table("pool", columns, tuple(_pool_lines(result)), headed=False)


def _pool_lines(result: CapacityResult) -> Iterator[Row]:
    """(what, value, beside it): the pool as the engine's log would state it."""
    pool, need = result.pool, result.logical_bytes_per_request
    tokens = "" if pool.block_tokens is None else f", {pool.block_tokens} tokens"
    blocks = "" if pool.blocks_per_request is None else f", {pool.blocks_per_request:,} blocks"
    at = f" at {result.max_model_len:,} tokens" if result.max_model_len else ""
    lines: tuple[tuple[str, Any, Callable[[Any], Cell], str], ...] = (
        ("memory for the cache", pool.available_bytes, as_logged, ""),
        ("bytes of the pool", pool.bytes, Bytes, ""),
        ("a block", pool.bytes_per_block, Bytes, tokens),
        ("blocks", pool.num_blocks, Count, _between(result, "num_blocks")),
        ("cache size in tokens", pool.tokens, Count, _between(result, "tokens")),
        (f"maximum concurrency{at}", pool.max_concurrency, _times, _between(result, "max_concurrency")),
        ("needed for one request", pool.bytes_per_request, as_logged, blocks),
        ("its logical need", need, as_logged, ""),
        ("longest request that fits", pool.estimated_max_model_len, Count,
         _between(result, "estimated_max_model_len")),
    )  # fmt: skip
    for name, value, kind, beside in lines:
        if value is not None:
            exact = f"{value:,} B" if kind in (Bytes, as_logged) else ""
            yield Row((name, kind(value), exact + beside), depth=int(name == "its logical need"))


def as_logged(num_bytes: int) -> Bytes:
    """Rounded as an engine's log is."""
    return Bytes(num_bytes, logged=True)


def _times(concurrency: Fraction) -> Decimal:
    return Decimal(concurrency, "x", logged=True)


def _between(result: CapacityResult, name: str) -> str:
    """The figure of the least and of the most memory, where they are not the same."""
    return span(*(getattr(pool, name) for pool in result.pool_range or ()))


def span(least: int | Fraction | None = None, most: int | Fraction | None = None) -> str:
    """``1,200 to 1,300``; nothing where one is not known or both are written alike."""
    if least is None or most is None:
        return ""
    shown = [
        decimals(value) if isinstance(value, Fraction) else f"{value:,}" for value in (least, most)
    ]
    return " to ".join(shown) if shown[0] != shown[1] else ""
