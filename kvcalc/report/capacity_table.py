"""``kvcalc capacity`` for people: the engine's log lines, and beside them the reasons."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from kvcalc.engines.result import CapacityResult
from kvcalc.report.capacity_rows import (
    CACHE_HEADERS,
    GROUP_HEADERS,
    cache_rows,
    group_rows,
    pool_lines,
)
from kvcalc.report.text import render as to_text
from kvcalc.units import format_bytes


def render(result: CapacityResult) -> str:
    """One screen: pool, groups or caches, waste, rules and notes."""
    title = Text(result.model, style="bold")
    title.append(f"  on {result.engine} {result.version}", "not bold")
    parts: list[Any] = [title, "", _pool(result)]
    if result.groups:
        parts += ["", _table(GROUP_HEADERS, group_rows(result))]
    if result.caches:
        parts += ["", _table(CACHE_HEADERS, cache_rows(result))]
    if result.waste:
        parts += ["", _waste(result)]
    for heading, lines in (("rules applied", result.rules), ("", result.notes)):
        if lines:
            parts.append("")
            if heading:
                parts.append(Text(heading, "bold"))
            parts += [Text(f"- {line}", "dim") for line in lines]
    return to_text(*parts)


def _pool(result: CapacityResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="bold")
    table.add_column(overflow="fold", style="dim")
    for line in pool_lines(result):
        table.add_row(*line)
    return table


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    """A borderless table without the columns that are empty everywhere."""
    kept = list(rows)
    columns = [i for i in range(len(headers)) if i == 0 or any(row[i] for row in kept)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i in columns:
        table.add_column(
            headers[i], justify="right" if i else "left", no_wrap=bool(i), overflow="fold"
        )
    for row in kept:
        table.add_row(*(row[i] for i in columns))
    return table


def _waste(result: CapacityResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("beyond the logical need", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("why", overflow="fold", style="dim")
    for waste in result.waste:
        whose = "a request" if waste.per_request else "the pool"
        table.add_row(waste.cause, format_bytes(waste.bytes), whose, waste.why)
    return table
