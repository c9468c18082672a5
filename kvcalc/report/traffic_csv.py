"""``kvcalc estimate --lengths FILE --format csv``: one line per percentile."""

import csv
from io import StringIO

from kvcalc.report.traffic_rows import Answer, name_of

FIELDS = (
    "model", "request", "tokens", "logical_bytes", "bytes", "concurrency", "shared_concurrency",
)  # fmt: skip


def render(answers: list[Answer]) -> str:
    """Empty cells where no memory or no prefix was given."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for model, _, traffic, _ in answers:
        for row in traffic.percentiles:
            writer.writerow((model, name_of(row), row.tokens, row.logical_bytes, row.bytes,
                             row.concurrency, row.shared_concurrency))  # fmt: skip
    return buffer.getvalue()
