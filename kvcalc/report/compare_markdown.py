"""``kvcalc compare --format markdown``: a table for a pull request or a page."""

from collections.abc import Sequence

from kvcalc.memory.grid import Row
from kvcalc.report.text import ratio
from kvcalc.units import format_bytes, format_tokens


def render(rows: list[Row], first: str, notes: Sequence[str]) -> str:
    """A GitHub-flavoured table, then what was assumed."""
    encoder = any(row.encoder_tokens for row in rows)
    lines = [
        f"| model | attention | KV dtype | context | {'encoder | ' if encoder else ''}batch "
        f"| weights | cache | bytes | per token | ratio to {first} |",
        "|---|---|---|" + "---:|" * (8 if encoder else 7),
    ]
    for row in rows:
        source = f"{format_tokens(row.encoder_tokens)} | " if encoder else ""
        lines.append(
            f"| {row.model} | {row.attention} | {row.kv_dtype} "
            f"| {format_tokens(row.context_tokens)} | {source}{row.batch_size} "
            f"| {format_bytes(row.weight_bytes)} | {format_bytes(row.cache_bytes)} "
            f"| {row.cache_bytes:,} | {row.bytes_per_token:,} "
            f"| {ratio(row.cache_bytes, row.first_cache_bytes)} |"
        )
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
