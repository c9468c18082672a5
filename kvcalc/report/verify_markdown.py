"""``kvcalc verify --format markdown``: the tables for a README or an issue."""

from typing import TYPE_CHECKING

from kvcalc.report import verify_rows as rows

if TYPE_CHECKING:
    from kvcalc.verify.proofs import Verification


def render(results: "tuple[Verification, ...]") -> str:
    """GitHub-flavoured tables; one line per model where there are many."""
    lines: list[str] = []
    if len(results) <= rows.DETAILED:
        for found in results:
            lines += [*_model(found), ""]
    else:
        headers = rows.summary_headers(results)
        lines += [f"| {' | '.join(headers)} |", "|---|---:|---:|" + "---|" * (len(headers) - 3)]
        lines += [f"| {' | '.join(row)} |" for row in rows.summary_rows(results)]
        lines.append("")
        apart = [f"- {line}" for line in rows.left_out(results)]
        lines += [*apart, ""] if apart else []
    wrong = [f"- {line}" for line in rows.failures(results)]
    lines += [*wrong, ""] if wrong else []
    lines.append(f"**{rows.closing(results)}**")
    return "\n".join(lines) + "\n"


def _model(found: "Verification") -> list[str]:
    lines = [f"**{found.model}** against {found.against} on {found.device}, "
             f"torch {found.torch_version}"]  # fmt: skip
    for proof in found.proofs:
        lines += [
            "",
            " ".join(f"**{proof.name}**: {rows.verdict(proof)} {rows.headline(proof)}".split()),
        ]
        lines += [f"- {note}" for note in proof.notes]
        if proof.rows:
            lines += ["", f"| {' | '.join(rows.ROW_HEADERS)} |", "|---|---:|---|---|---|"]
            lines += [f"| {' | '.join(rows.row_cells(row))} |" for row in proof.rows]
    if found.plan:
        lines += ["", found.plan, "", rows.scale(found)]
    return lines
