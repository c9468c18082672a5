"""``kvcalc capacity``: the engine's log lines, and beside them the reasons."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any

from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.report.sheet import (
    Answer,
    Bytes,
    Column,
    Count,
    Decimal,
    ExactBytes,
    Mebibytes,
    Points,
    Row,
    Sheet,
    Table,
    decimals,
    table,
)

KEYS = (
    "model", "part", "name", "value", "layers", "padding_layers", "block_tokens", "page_bytes",
    "blocks_per_request", "cells", "streams", "k_bytes", "v_bytes", "r_bytes", "s_bytes", "bytes",
    "of", "why",
)  # fmt: skip


def answer(result: CapacityResult, source: tuple[str, ...], path: str) -> Answer:
    """source, path: the spec's, as ``estimate`` states them."""
    return Answer(lambda: [sheet(result)], lambda: to_object(result, source, path))


def to_object(result: CapacityResult, source: tuple[str, ...], path: str) -> dict[str, Any]:
    """The contract's fields first, then what explains them; what an engine lacks is null."""
    return {
        "model": {"name": result.model, "source": "; ".join(source), "spec": path},
        "engine": {"name": result.engine, "version": result.version},
        "pool": _pool_object(result.pool),
        "groups": [asdict(group) for group in result.groups],
        "caches": [asdict(cache) for cache in result.caches],
        "waste": [asdict(waste) for waste in result.waste],
        "pool_range": [_pool_object(pool) for pool in result.pool_range]
        if result.pool_range
        else None,
        "max_model_len": result.max_model_len,
        "logical_bytes_per_request": result.logical_bytes_per_request,
        "rules": list(result.rules),
        "notes": list(result.notes),
    }


def _pool_object(pool: Pool) -> dict[str, Any]:
    values = {item.name: getattr(pool, item.name) for item in fields(pool)}
    return {
        # A concurrency is a quotient; JSON has no fractions.
        name: float(value) if isinstance(value, Fraction) else value
        for name, value in values.items()
    }


def sheet(result: CapacityResult) -> Sheet:
    """Pool, groups or caches, waste, rules and notes."""
    parts: list[Table | Points] = [_pool(result)]
    if result.groups:
        parts.append(_groups(result))
    if result.caches:
        parts.append(_caches(result))
    if result.waste:
        parts.append(_waste(result))
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


def _groups(result: CapacityResult) -> Table:
    columns = (
        Column("group", "name"), Column("layers", "layers"), Column("padding", "padding_layers"),
        Column("block", right=True), Column(None, "block_tokens"), Column("page", "page_bytes"),
        Column("blocks a request", "blocks_per_request"),
    )  # fmt: skip
    rows = [
        Row((
            group.mechanism,
            Count(group.layers),
            Count(group.padding_layers) if group.padding_layers else None,
            None if group.block_tokens is None else f"{group.block_tokens} tokens",
            _count(group.block_tokens),
            None if group.page_bytes is None else ExactBytes(group.page_bytes, after=" B"),
            _count(group.blocks_per_request),
        ))
        for group in result.groups
    ]  # fmt: skip
    return table("group", columns, rows)


def _caches(result: CapacityResult) -> Table:
    """One row per cache, in MiB as llama.cpp prints them."""
    columns = (
        Column("cache", "name"), Column("layers", "layers"), Column("cells", "cells"),
        Column("streams", "streams"), Column("K", "k_bytes"), Column("V", "v_bytes"),
        Column("R", "r_bytes"), Column("S", "s_bytes"), Column("bytes", "bytes"),
    )  # fmt: skip
    rows = []
    for cache in result.caches:
        sizes = (cache.k_bytes, cache.v_bytes, cache.r_bytes, cache.s_bytes, cache.bytes)
        cells = (None if size is None else Mebibytes(size) for size in sizes)
        name = f"{cache.name} ({cache.type})"
        counts = (Count(cache.layers), _count(cache.cells), _count(cache.streams))
        rows.append(Row((name, *counts, *cells)))
    return table("cache", columns, rows)


def _count(number: int | None) -> Count | None:
    return None if number is None else Count(number)


def _waste(result: CapacityResult) -> Table:
    columns = (
        Column("beyond the logical need", "name", wraps=True), Column("bytes", "bytes"),
        Column("of", "of"), Column("why", "why", wraps=True),
    )  # fmt: skip
    rows = [
        Row((waste.cause, Bytes(waste.bytes), "a request" if waste.per_request else "the pool", waste.why))
        for waste in result.waste
    ]  # fmt: skip
    return Table("waste", columns, tuple(rows))
