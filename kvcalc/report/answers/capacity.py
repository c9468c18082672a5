"""``kvcalc capacity``: the engine's log lines, and beside them the reasons."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.report.cells import Bytes, Count, Decimal, ExactBytes, Mebibytes, decimals
from kvcalc.report.objects.capacity import Capacity
from kvcalc.report.objects.common import named
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Answer, Column, Points, Row, Sheet, Table, rows_of, table

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


def answer(result: CapacityResult, source: tuple[str, ...], path: str) -> Answer:
    """source, path: the spec's, as ``estimate`` states them."""
    return Answer(lambda: [sheet(result)], lambda: to_object(result, source, path))


def to_object(result: CapacityResult, source: tuple[str, ...], path: str) -> dict[str, Any]:
    """The contract's fields first, then what explains them; what an engine lacks is null."""
    return filled(Capacity, result, model=named(result.model, source, path))


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
    pool, span = result.pool, result.pool_range
    if pool.available_bytes is not None:
        yield Row(
            (
                "memory for the cache",
                Bytes(pool.available_bytes, logged=True),
                _exact(pool.available_bytes),
            )
        )
    if pool.bytes is not None:
        yield Row(("bytes of the pool", Bytes(pool.bytes), _exact(pool.bytes)))
    if pool.bytes_per_block is not None:
        tokens = "" if pool.block_tokens is None else f", {pool.block_tokens} tokens"
        yield Row(("a block", Bytes(pool.bytes_per_block), _exact(pool.bytes_per_block) + tokens))
    if pool.num_blocks is not None:
        yield Row(("blocks", Count(pool.num_blocks), _between(span, "num_blocks")))
    if pool.tokens is not None:
        yield Row(("cache size in tokens", Count(pool.tokens), _between(span, "tokens")))
    if pool.max_concurrency is not None:
        at = f" at {result.max_model_len:,} tokens" if result.max_model_len else ""
        concurrency = Decimal(pool.max_concurrency, "x", logged=True)
        yield Row(("maximum concurrency" + at, concurrency, _between(span, "max_concurrency")))
    if pool.bytes_per_request is not None:
        blocks = pool.blocks_per_request
        beside = "" if blocks is None else f", {blocks:,} blocks"
        needed = pool.bytes_per_request
        yield Row(("needed for one request", Bytes(needed, logged=True), _exact(needed) + beside))
    if result.logical_bytes_per_request is not None:
        need = result.logical_bytes_per_request
        yield Row(("its logical need", Bytes(need, logged=True), _exact(need)), depth=1)
    if pool.estimated_max_model_len is not None:
        longest = Count(pool.estimated_max_model_len)
        yield Row(("longest request that fits", longest, _between(span, "estimated_max_model_len")))


def _exact(num_bytes: int) -> str:
    return f"{num_bytes:,} B"


def _between(span: tuple[Pool, Pool] | None, name: str) -> str:
    if span is None:
        return ""
    least, most = (getattr(pool, name) for pool in span)
    if least is None or most is None or least == most:
        return ""
    shown = [
        decimals(value) if isinstance(value, Fraction) else f"{value:,}" for value in (least, most)
    ]
    return f"{shown[0]} to {shown[1]}" if shown[0] != shown[1] else ""
