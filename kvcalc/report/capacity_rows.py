"""The lines of a capacity answer, shared by the table and the markdown."""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.units import format_bytes


def decimals(value: Fraction, digits: int = 2) -> str:
    """``2.31``: rounded half up in integer arithmetic."""
    scaled = (value * 10**digits * 2 + 1) // 2
    whole, rest = divmod(scaled, 10**digits)
    return f"{whole:,}.{rest:0{digits}d}"


def pool_lines(result: CapacityResult) -> Iterator[tuple[str, str, str]]:
    """(what, value, beside it): the pool as the engine's log would state it."""
    pool, span = result.pool, result.pool_range
    if pool.available_bytes is not None:
        yield (
            "memory for the cache",
            format_bytes(pool.available_bytes),
            f"{pool.available_bytes:,} B",
        )
    if pool.bytes is not None:
        yield "bytes of the pool", format_bytes(pool.bytes), f"{pool.bytes:,} B"
    if pool.bytes_per_block is not None:
        beside = f"{pool.bytes_per_block:,} B"
        if pool.block_tokens is not None:
            beside += f", {pool.block_tokens} tokens"
        yield "a block", format_bytes(pool.bytes_per_block), beside
    if pool.num_blocks is not None:
        yield "blocks", f"{pool.num_blocks:,}", _between(span, "num_blocks")
    if pool.tokens is not None:
        yield "cache size in tokens", f"{pool.tokens:,}", _between(span, "tokens")
    if pool.max_concurrency is not None:
        at = f" at {result.max_model_len:,} tokens" if result.max_model_len else ""
        yield (
            "maximum concurrency" + at,
            decimals(pool.max_concurrency) + "x",
            _between(span, "max_concurrency"),
        )
    if pool.bytes_per_request is not None:
        beside = f"{pool.bytes_per_request:,} B"
        if pool.blocks_per_request is not None:
            beside += f", {pool.blocks_per_request:,} blocks"
        yield "needed for one request", format_bytes(pool.bytes_per_request), beside
    if result.logical_bytes_per_request is not None:
        need = result.logical_bytes_per_request
        yield "  its logical need", format_bytes(need), f"{need:,} B"
    if pool.estimated_max_model_len is not None:
        yield (
            "longest request that fits",
            f"{pool.estimated_max_model_len:,}",
            _between(span, "estimated_max_model_len"),
        )


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


GROUP_HEADERS = ("group", "layers", "padding", "block", "page", "blocks a request")
CACHE_HEADERS = ("cache", "layers", "cells", "streams", "K", "V", "R", "S", "bytes")


def group_rows(result: CapacityResult) -> Iterator[tuple[str, ...]]:
    """One row per layer group; an empty cell where the engine has no such thing."""
    for group in result.groups:
        yield (
            group.mechanism,
            str(group.layers),
            str(group.padding_layers or ""),
            "" if group.block_tokens is None else f"{group.block_tokens} tokens",
            _size(group.page_bytes),
            "" if group.blocks_per_request is None else f"{group.blocks_per_request:,}",
        )


def cache_rows(result: CapacityResult) -> Iterator[tuple[str, ...]]:
    """One row per cache, in MiB as llama.cpp prints them."""
    for cache in result.caches:
        sizes = (cache.k_bytes, cache.v_bytes, cache.r_bytes, cache.s_bytes)
        yield (
            f"{cache.name} ({cache.type})",
            str(cache.layers),
            "" if cache.cells is None else f"{cache.cells:,}",
            "" if cache.streams is None else str(cache.streams),
            *(mebibytes(size) for size in sizes),
            mebibytes(cache.bytes),
        )


def mebibytes(num_bytes: int | None) -> str:
    """``544.00 MiB``, as llama.cpp's log prints it: C's printf rounds a tie to the even digit."""
    if num_bytes is None:
        return ""
    whole, rest = divmod(round(Fraction(num_bytes * 100, 1 << 20)), 100)
    return f"{whole:,}.{rest:02d} MiB"


def _size(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes:,} B"
