"""``kvcalc verify`` for people: a table per model, or one line per model where there are many."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from kvcalc.report import verify_rows as rows
from kvcalc.report.text import render as to_text

if TYPE_CHECKING:
    from kvcalc.verify.proofs import Proof, Verification

_STYLES = {"pass": "green", "FAIL": "bold red", "n/a": "dim", "not run": "bold red"}


def render(results: "tuple[Verification, ...]") -> str:
    """All results, the differences last, where a reader ends."""
    parts: list[Any] = []
    if len(results) <= rows.DETAILED:
        for found in results:
            parts += [*_model(found), ""]
    else:
        parts += [_summary(results), ""]
        apart = [Text(line, "dim") for line in rows.left_out(results)]
        parts += [*apart, ""] if apart else []
    wrong = list(rows.failures(results))
    parts += [Text(line, "red") for line in wrong]
    if wrong:
        parts.append("")
    parts.append(Text(rows.closing(results), "bold"))
    return to_text(*parts)


def _model(found: "Verification") -> list[Any]:
    title = Text(found.model, style="bold")
    title.append(
        f"  against {found.against} on {found.device}, torch {found.torch_version}", "not bold"
    )
    parts: list[Any] = [title]
    for proof in found.proofs:
        line = Text(f"\n{proof.name}  ", "bold")
        line.append(rows.verdict(proof), _STYLES[rows.verdict(proof)])
        line.append(f"  {rows.headline(proof)}", "not bold")
        parts.append(line)
        parts += [Text(f"  {note}", "dim") for note in proof.notes]
        if proof.rows:
            parts.append(_rows(proof))
    if found.plan:
        parts += ["", Text(found.plan, "dim"), Text(rows.scale(found), "dim")]
    return parts


def _rows(proof: "Proof") -> Table:
    cells = [rows.row_cells(row) for row in proof.rows]
    columns = [i for i in range(len(rows.ROW_HEADERS)) if i == 0 or any(row[i] for row in cells)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i in columns:
        table.add_column(
            rows.ROW_HEADERS[i], justify="right" if i == 1 else "left", overflow="fold",
            style="dim" if i == 4 else "",
        )  # fmt: skip
    for row in cells:
        table.add_row(*(row[i] for i in columns))
    return table


def _summary(results: "tuple[Verification, ...]") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(rows.summary_headers(results)):
        table.add_column(name, justify="right" if index in (1, 2) else "left", overflow="fold")
    for row in rows.summary_rows(results):
        table.add_row(*row[:3], *(Text(cell, _STYLES.get(cell, "")) for cell in row[3:]))
    return table
