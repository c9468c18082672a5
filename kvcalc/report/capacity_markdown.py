"""``kvcalc capacity --format markdown``: the answer for an issue or a page."""

from collections.abc import Iterable

from kvcalc.engines.result import CapacityResult
from kvcalc.report.capacity_rows import (
    CACHE_HEADERS,
    GROUP_HEADERS,
    cache_rows,
    group_rows,
    pool_lines,
)


def render(result: CapacityResult) -> str:
    """GitHub-flavoured tables, the rules and notes as a list."""
    lines = [f"**{result.model}** on {result.engine} {result.version}", ""]
    lines += ["| pool | | |", "|---|---:|---|"]
    lines += [f"| {' | '.join(line)} |" for line in pool_lines(result)]
    if result.groups:
        lines += ["", *_table(GROUP_HEADERS, group_rows(result))]
    if result.caches:
        lines += ["", *_table(CACHE_HEADERS, cache_rows(result))]
    if result.waste:
        lines += ["", "| beyond the logical need | bytes | of | why |", "|---|---:|---|---|"]
        for waste in result.waste:
            whose = "a request" if waste.per_request else "the pool"
            lines.append(f"| {waste.cause} | {waste.bytes:,} | {whose} | {waste.why} |")
    notes = (*result.rules, *result.notes)
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    head = [f"| {' | '.join(headers)} |", "|---|" + "---:|" * (len(headers) - 1)]
    return head + [f"| {' | '.join(row)} |" for row in rows]
