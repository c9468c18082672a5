"""``kvcalc fit`` for people: the verdict, where the memory goes, and what would help."""

from typing import Any

from rich.table import Table
from rich.text import Text

from kvcalc.deployment.fit import Fit
from kvcalc.deployment.overhead import CARRIED_OVER
from kvcalc.report.fit_rows import (
    ALL_HEADERS,
    all_rows,
    answer_lines,
    by_engine,
    device_headers,
    device_rows,
    headline,
    shared_notes,
)
from kvcalc.report.text import render as to_text

_WORDS = ("measured band", CARRIED_OVER, "what it costs", "fewest devices")


def _table(*headers: str) -> Table:
    """A borderless table; numbers to the right, words to the left."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, header in enumerate(headers):
        right = index > 0 and header not in _WORDS
        table.add_column(header, justify="right" if right else "left", no_wrap=index > 0)
    return table


def render(fit: Fit) -> str:
    """One screen for one accelerator."""
    title = Text(fit.model, style="bold")
    parts: list[Any] = [title, Text(headline(fit)), ""]
    for device in fit.devices:
        if len(fit.devices) > 1:
            layers = device.layers
            parts.append(Text(f"stage {device.stage}: layers {layers.start} to {layers.stop - 1}"))
        table = _table(*device_headers(fit))
        for row in device_rows(fit, device):
            table.add_row(*row)
        parts += [table, ""]
    answers = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for line in answer_lines(fit):
        answers.add_row(*line)
    parts.append(answers)
    if fit.changes:
        changes = _table("what would make it fit", "what it costs")
        for change in fit.changes:
            changes.add_row(change.what, change.cost)
        parts += ["", changes]
    parts += ["", *(Text(f"- {note}", "dim") for note in fit.notes)]
    return to_text(*parts)


def render_all(fits: list[Fit]) -> str:
    """A row per accelerator."""
    table = _table(*ALL_HEADERS)
    for row in all_rows(fits):
        table.add_row(*row)
    first = fits[0]
    request = first.request
    about = (
        f"{first.model}: {request.workload.context_tokens:,} tokens x {request.workload.batch_size} in "
        f"{request.workload.cache.kv_name}, weights in {request.workload.dtype}{by_engine(first)}"
    )
    notes = [Text(f"- {note}", "dim") for note in shared_notes(fits)]
    return to_text(Text(about, "bold"), "", table, *(["", *notes] if notes else []))
