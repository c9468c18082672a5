"""``kvcalc compare --format csv``: one line per workload, written as it is computed."""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO

from kvcalc.memory.grid import Row
from kvcalc.report.compare_rows import FIELDS, values

CHUNK_ROWS = 4096


def render(rows: Iterable[Row]) -> Iterator[str]:
    """CSV text in chunks, the header first."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for number, row in enumerate(rows, start=1):
        writer.writerow(values(row))
        if number % CHUNK_ROWS == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()
