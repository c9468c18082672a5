"""``kvcalc compare --format markdown``: a table for a pull request or a page."""

from kvcalc.memory.grid import Row
from kvcalc.report.text import ratio
from kvcalc.units import format_bytes, format_tokens


def render(rows: list[Row]) -> str:
    """A GitHub-flavoured table."""
    lines = [
        "| model | attention | KV dtype | context | batch | cache | bytes | per token | ratio |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.model} | {row.attention} | {row.kv_dtype} | {format_tokens(row.context_tokens)} "
        f"| {row.batch_size} | {format_bytes(row.cache_bytes)} | {row.cache_bytes:,} "
        f"| {row.bytes_per_token:,} | {ratio(row.cache_bytes, row.first_cache_bytes)} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
