"""``kvcalc estimate --lengths FILE --format json``: integers only."""

import json
from dataclasses import asdict
from typing import Any

from kvcalc.memory.traffic import Traffic


def render(answers: list[tuple[str, str, Traffic, tuple[str, ...]]]) -> str:
    """One object for one model, a list for several."""
    objects = [_object(*answer) for answer in answers]
    return json.dumps(objects[0] if len(objects) == 1 else objects, indent=1) + "\n"


def _object(model: str, path: str, traffic: Traffic, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "model": {"name": model, "spec": path},
        "requests": traffic.num_requests,
        "tokens": traffic.num_tokens,
        "held_by": traffic.held_by,
        "block_tokens": traffic.block_tokens,
        "available_bytes": traffic.available_bytes,
        "logical_bytes": traffic.logical_bytes,
        "bytes": traffic.bytes,
        "rounding_bytes": traffic.rounding_bytes,
        # percent is null for the mean, 100 for the longest request.
        "percentiles": [asdict(row) for row in traffic.percentiles],
        "shared_prefix": asdict(traffic.prefix) if traffic.prefix is not None else None,
        "assumptions": list(notes),
    }
