"""``kvcalc compare --format json``: the grid as a list of rows."""

import json

from kvcalc.memory.grid import Row, Variant
from kvcalc.report.compare_rows import FIELDS, values


def render(rows: list[Row], variants: list[Variant]) -> str:
    """One object: rows of integers, and how each variant was derived."""
    notes = [f"{variant.spec.name}: {note}" for variant in variants for note in variant.notes]
    return (
        json.dumps(
            {
                "schema_version": 1,
                "rows": [dict(zip(FIELDS, values(row), strict=True)) for row in rows],
                "assumptions": notes,
            },
            indent=1,
        )
        + "\n"
    )
