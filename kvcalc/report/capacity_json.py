"""``kvcalc capacity --format json``: the contract's object; what an engine lacks is null."""

import json
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any

from kvcalc.engines.result import Cache, CapacityResult, LayerGroup, Pool, Waste


def render(result: CapacityResult, source: tuple[str, ...], path: str) -> str:
    """One object with a newline at its end. source, path: the spec's, as ``estimate`` states them."""
    return json.dumps(to_object(result, source, path), indent=1) + "\n"


def to_object(result: CapacityResult, source: tuple[str, ...], path: str) -> dict[str, Any]:
    """The contract's fields first, then what explains them."""
    return {
        "schema_version": 1,
        "model": {"name": result.model, "source": "; ".join(source), "spec": path},
        "engine": {"name": result.engine, "version": result.version},
        "pool": _pool(result.pool),
        "groups": [_plain(group) for group in result.groups],
        "caches": [_plain(cache) for cache in result.caches],
        "waste": [_plain(waste) for waste in result.waste],
        "pool_range": [_pool(pool) for pool in result.pool_range] if result.pool_range else None,
        "max_model_len": result.max_model_len,
        "logical_bytes_per_request": result.logical_bytes_per_request,
        "rules": list(result.rules),
        "notes": list(result.notes),
    }


def _plain(item: LayerGroup | Cache | Waste) -> dict[str, Any]:
    return asdict(item)


def _pool(pool: Pool) -> dict[str, Any]:
    values = {item.name: getattr(pool, item.name) for item in fields(pool)}
    return {
        # A concurrency is a quotient; JSON has no fractions.
        name: float(value) if isinstance(value, Fraction) else value
        for name, value in values.items()
    }
