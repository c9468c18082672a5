"""``kvcalc compare --format json``: the grid as a list of rows."""

import json
from collections.abc import Sequence
from typing import Any

from kvcalc.memory.grid import Row
from kvcalc.report.compare_rows import FIELDS, values


def render(rows: list[Row], first: str, notes: Sequence[str]) -> str:
    """One object: rows of numbers, what their ratios are to, and what was assumed."""
    answer = {
        "schema_version": 1,
        "ratio_to": first,
        "rows": [_row(row) for row in rows],
        "assumptions": list(notes),
    }
    return json.dumps(answer, indent=1) + "\n"


def _row(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = dict(zip(FIELDS, values(row), strict=True))
    ratio = found["cache_ratio_to_first"]
    # Six decimals, rounded in integers; JSON has no other number for them.
    return found | {"cache_ratio_to_first": float(ratio) if ratio else None}
