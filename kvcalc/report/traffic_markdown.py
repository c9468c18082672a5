"""``kvcalc estimate --lengths FILE --format markdown``."""

from kvcalc.report.traffic_rows import Answer, headers, rows, totals


def render(answers: list[Answer]) -> str:
    """One section per model: the distribution, then all requests together."""
    sections = []
    for model, _, traffic, notes in answers:
        titles = headers(traffic)
        lines = [f"### {model}: {traffic.num_requests:,} requests", "",
                 f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]  # fmt: skip
        lines += [f"| {' | '.join(row)} |" for row in rows(traffic)]
        lines += ["", "| all requests | | |", "|---|---:|---|"]
        lines += [f"| {' | '.join(line)} |" for line in totals(traffic)]
        lines += ["", *(f"- {note}" for note in notes)]
        sections.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(sections)
