"""``kvcalc fit --format markdown``: the answer for an issue or a page."""

from collections.abc import Iterable

from kvcalc.deployment.fit import Fit
from kvcalc.report.fit_rows import (
    ALL_HEADERS,
    all_rows,
    answer_lines,
    device_headers,
    device_rows,
    headline,
    shared_notes,
)


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    head = [f"| {' | '.join(headers)} |", "|---|" + "---:|" * (len(headers) - 1)]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def render(fit: Fit) -> str:
    """GitHub-flavoured tables for one accelerator."""
    lines = [f"**{fit.model}**: {headline(fit)}", ""]
    for device in fit.devices:
        if len(fit.devices) > 1:
            lines += [f"Stage {device.stage}: layers {device.layers.start} to "
                      f"{device.layers.stop - 1}", ""]  # fmt: skip
        lines += [*_table(device_headers(fit), device_rows(fit, device)), ""]
    lines += [f"- {what}: **{value}**" for what, value in answer_lines(fit)]
    if fit.changes:
        rows = ((f"`{change.what}`", change.cost) for change in fit.changes)
        lines += ["", *_table(("what would make it fit", "what it costs"), rows)]
    lines += ["", *(f"- {note}" for note in fit.notes)]
    return "\n".join(lines) + "\n"


def render_all(fits: list[Fit]) -> str:
    """A row per accelerator."""
    lines = _table(ALL_HEADERS, all_rows(fits))
    notes = [f"- {note}" for note in shared_notes(fits)]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"
