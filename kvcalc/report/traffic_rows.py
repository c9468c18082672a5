"""The lines of a traffic answer, shared by its formats."""

from kvcalc.memory.traffic import Percentile, Traffic
from kvcalc.report.text import percent
from kvcalc.units import format_bytes

Answer = tuple[str, str, Traffic, tuple[str, ...]]


def name_of(row: Percentile) -> str:
    """``mean``, ``p50``, ``longest``."""
    if row.percent is None:
        return "mean"
    return "longest" if row.percent == 100 else f"p{row.percent}"


def headers(traffic: Traffic) -> tuple[str, ...]:
    """Column titles; concurrency only where a memory or a prefix was given."""
    found = ["request", "tokens", "need", held(traffic), ""]
    if traffic.available_bytes is not None:
        found.append("at once")
        if traffic.prefix is not None:
            found.append("sharing the prefix")
    return tuple(found)


def held(traffic: Traffic) -> str:
    """``in blocks of 16``, ``vllm``."""
    return f"in blocks of {traffic.block_tokens}" if traffic.block_tokens else traffic.held_by


def rows(traffic: Traffic) -> list[tuple[str, ...]]:
    """One line per percentile."""
    found = []
    for row in traffic.percentiles:
        cells = [name_of(row), f"{row.tokens:,}", format_bytes(row.logical_bytes),
                 format_bytes(row.bytes), f"{row.bytes:,} B"]  # fmt: skip
        if traffic.available_bytes is not None:
            cells.append("" if row.concurrency is None else f"{row.concurrency:,}")
            if traffic.prefix is not None:
                shared = row.shared_concurrency
                cells.append("" if shared is None else f"{shared:,}")
        found.append(tuple(cells))
    return found


def totals(traffic: Traffic) -> list[tuple[str, str, str]]:
    """(what, value, beside it) of all requests together."""
    found = [
        ("requests", f"{traffic.num_requests:,}", f"{traffic.num_tokens:,} tokens"),
        ("need, all together", format_bytes(traffic.logical_bytes), f"{traffic.logical_bytes:,} B"),
        (f"held, {held(traffic)}", format_bytes(traffic.bytes), f"{traffic.bytes:,} B"),
        ("beyond the need", format_bytes(traffic.rounding_bytes),
         f"{percent(abs(traffic.rounding_bytes), traffic.logical_bytes)} of it"),
    ]  # fmt: skip
    if traffic.available_bytes is not None:
        found.append(
            ("memory for the cache", format_bytes(traffic.available_bytes), "on each device")
        )
    if traffic.prefix is not None:
        prefix = traffic.prefix
        found += [
            (f"prefix of {prefix.tokens:,} tokens", format_bytes(prefix.bytes),
             f"{prefix.blocks_tokens:,} tokens in whole blocks, kept once"),
            ("requests that share it", f"{prefix.sharing:,}",
             "prompts at least as long" if traffic.has_prompts else "the file tells no prompts"),
            ("saved, all held at once", format_bytes(prefix.saved_bytes), f"{prefix.saved_bytes:,} B"),
        ]  # fmt: skip
    return found
