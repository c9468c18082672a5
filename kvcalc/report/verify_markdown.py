"""``kvcalc verify --format markdown``: the tables for a README or an issue."""

from typing import TYPE_CHECKING

from kvcalc.report.verify_rows import (
    DETAILED,
    ROW_HEADERS,
    closing,
    failures,
    headline,
    row_cells,
    scale,
    summary_headers,
    summary_rows,
    verdict,
)

if TYPE_CHECKING:
    from kvcalc.verify.proofs import Verification


def render(results: "tuple[Verification, ...]") -> str:
    """GitHub-flavoured tables; one line per model where there are many."""
    lines: list[str] = []
    if len(results) <= DETAILED:
        for found in results:
            lines += [*_model(found), ""]
    else:
        headers = summary_headers(results)
        lines += [f"| {' | '.join(headers)} |", "|---|---:|---:|" + "---|" * (len(headers) - 3)]
        lines += [f"| {' | '.join(row)} |" for row in summary_rows(results)]
        lines.append("")
    wrong = [f"- {line}" for line in failures(results)]
    lines += [*wrong, ""] if wrong else []
    lines.append(f"**{closing(results)}**")
    return "\n".join(lines) + "\n"


def _model(found: "Verification") -> list[str]:
    lines = [f"**{found.model}** against {found.against} on {found.device}, "
             f"torch {found.torch_version}"]  # fmt: skip
    for proof in found.proofs:
        lines += ["", " ".join(f"**{proof.name}**: {verdict(proof)} {headline(proof)}".split())]
        lines += [f"- {note}" for note in proof.notes]
        if proof.rows:
            lines += ["", f"| {' | '.join(ROW_HEADERS)} |", "|---|---:|---|---|---|"]
            lines += [f"| {' | '.join(row_cells(row))} |" for row in proof.rows]
    if found.plan:
        lines += ["", found.plan, "", scale(found)]
    return lines
