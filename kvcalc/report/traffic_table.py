"""``kvcalc estimate --lengths FILE`` for people: what requests of a trace take, and how many fit."""

from rich.table import Table
from rich.text import Text

from kvcalc.report.text import render as to_text
from kvcalc.report.traffic_rows import Answer, headers, rows, totals


def render(answers: list[Answer]) -> str:
    """One screen per model."""
    texts = []
    for model, _, traffic, notes in answers:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for index, header in enumerate(headers(traffic)):
            table.add_column(header, justify="right" if index else "left", no_wrap=True)
        for row in rows(traffic):
            table.add_row(*row)
        sums = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        sums.add_column(no_wrap=True)
        sums.add_column(justify="right", no_wrap=True, style="bold")
        sums.add_column(overflow="fold", style="dim")
        for line in totals(traffic):
            sums.add_row(*line)
        title = Text(model, style="bold")
        title.append(f"  the cache of {traffic.num_requests:,} requests", "not bold")
        dim = [Text(f"- {note}", "dim") for note in notes]
        texts.append(to_text(title, "", table, "", sums, *dim))
    return "\n".join(texts)
