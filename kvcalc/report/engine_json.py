"""``kvcalc estimate --engine vllm|...|all --format json``: the contract's object, and ``waste``."""

import json
from math import prod
from typing import Any

from kvcalc.engines.result import Waste
from kvcalc.engines.workload import EngineCache, Row, Slab
from kvcalc.memory.estimate import Estimate
from kvcalc.report import estimate_json
from kvcalc.report.ranges import layer_ranges


def render(answers: list[tuple[str, Estimate, EngineCache]]) -> str:
    """One object for one model, a list for several. answers: (path of the spec, logical, held)."""
    return _dump([_object(path, estimate, cache) for path, estimate, cache in answers])


def render_all(answers: list[tuple[str, Estimate, tuple[Row, ...]]]) -> str:
    """The logical object with ``engines``, one entry per accounting, refusals included."""
    objects = []
    for path, estimate, rows in answers:
        result = estimate_json.to_object(path, estimate)
        result["engine"] = "all"
        result["engines"] = [_row(row, estimate.cache.bytes) for row in rows]
        objects.append(result)
    return _dump(objects)


def _dump(objects: list[dict[str, Any]]) -> str:
    return json.dumps(objects[0] if len(objects) == 1 else objects, indent=1) + "\n"


def _object(path: str, estimate: Estimate, cache: EngineCache) -> dict[str, Any]:
    result = estimate_json.to_object(path, estimate)
    result["engine"] = cache.engine
    result["engine_version"] = cache.version
    result["cache"] = {
        "bytes": cache.bytes,
        "logical_bytes": cache.logical_bytes,
        "bytes_per_token": cache.bytes_per_token,
        "fixed_bytes_per_sequence": cache.fixed_bytes_per_sequence,
        "per_device_bytes": list(cache.per_device_bytes),
        "groups": [group(slab, cache.ranks, cache.sequences) for slab in cache.groups],
    }
    result["waste"] = [_waste(waste) for waste in cache.waste]
    result["assumptions"] = [*cache.rules, *cache.notes, *estimate.assumptions]
    result["total_bytes"] = estimate.weight_bytes + cache.bytes
    return result


def group(slab: Slab, ranks: int, sequences: int) -> dict[str, Any]:
    """Equal layers on all ranks; tensors are one layer's rows, as bytes."""
    return {
        "layers": [slab.layers[0], slab.layers[-1]] if slab.layers else None,
        "layer_ranges": layer_ranges(slab.layers),
        "count": len(slab.layers),
        "padding_layers": slab.padding_layers,
        "unused_bytes": slab.unused_bytes * ranks * sequences,
        "stack": "decoder",
        "block": slab.block,
        "mechanism": slab.mechanism,
        "bytes": slab.bytes * ranks * sequences,
        "tensors": [
            {"name": name, "shape": list(shape), "dtype": "uint8", "bytes": prod(shape)}
            for name, shape in shapes(slab, ranks, sequences)
        ],
    }


def shapes(slab: Slab, ranks: int, sequences: int) -> list[tuple[str, tuple[int, ...]]]:
    """[ranks,] sequences, rows (pages, slots, cells, states), bytes of a row."""
    leading = (ranks, sequences) if ranks > 1 else (sequences,)
    return [(name, (*leading, rows, row_bytes)) for name, rows, row_bytes in slab.tensors]


def _waste(waste: Waste) -> dict[str, Any]:
    return {"cause": waste.cause, "bytes": waste.bytes, "why": waste.why}


def _row(row: Row, logical_bytes: int) -> dict[str, Any]:
    return {
        "engine": row.engine,
        "version": row.version,
        "supported": row.refusal is None,
        "bytes": row.bytes,
        "beyond_logical_bytes": None if row.bytes is None else row.bytes - logical_bytes,
        "bytes_per_token": row.bytes_per_token,
        "fixed_bytes_per_sequence": row.fixed_bytes_per_sequence,
        "per_device_bytes": list(row.per_device_bytes) or None,
        "waste": [_waste(waste) for waste in row.waste],
        "refusal": row.refusal,
    }
