"""``kvcalc estimate --format json``: the contract's object, integers only."""

import json
from typing import Any

from kvcalc.memory.estimate import CacheEstimate, Estimate, GroupEstimate
from kvcalc.report.ranges import layer_ranges
from kvcalc.tensors import Component

# The contract's components; a recurrent mixer is none of them.
_CONTRACT: dict[Component, str] = {"recurrent": "other"}
_KEYS = ("embedding", "attention", "ffn", "experts", "router", "norm", "head", "other")


def render(answers: list[tuple[str, Estimate]]) -> str:
    """One object for one model, a list for several. answers: (path of the spec, estimate)."""
    objects = [to_object(path, estimate) for path, estimate in answers]
    return json.dumps(objects[0] if len(objects) == 1 else objects, indent=1) + "\n"


def to_object(path: str, estimate: Estimate) -> dict[str, Any]:
    """The contract's object for one model."""
    spec, workload, parameters = estimate.spec, estimate.workload, estimate.parameters
    return {
        "schema_version": 1,
        "model": {"name": spec.name, "source": "; ".join(spec.source), "spec": path},
        "workload": {
            "context_tokens": workload.context_tokens,
            "batch_size": workload.batch_size,
            "encoder_tokens": workload.encoder_tokens,
            "beams": workload.beams,
            "dtype": workload.dtype,
            "kv_dtype": workload.cache.kv_name,
            "state_dtype": estimate.state_dtype,
        },
        "engine": estimate.engine,
        "parallelism": {"tensor": workload.layout.tensor, "pipeline": workload.layout.pipeline},
        "parameters": {
            "total": parameters.total,
            "active": parameters.active,
            "active_without_embedding": parameters.active_without_embedding,
            "by_component": _by_component(parameters.by_component),
            "buffers": parameters.buffers,
            "mtp": estimate.mtp_parameters,
        },
        "weights": _weights(estimate),
        "cache": _cache(estimate.cache),
        "workspace": {
            "bytes": max((item.bytes for item in estimate.workspace), default=0),
            "items": [
                {
                    "name": item.name,
                    "formula": item.formula,
                    "substituted": item.substituted,
                    "bytes": item.bytes,
                    "eager_only": item.eager_only,
                    "note": item.note or None,
                }
                for item in estimate.workspace
            ],
        },
        "assumptions": list(estimate.assumptions),
        "total_bytes": estimate.total_bytes,
    }


def _weights(estimate: Estimate) -> dict[str, Any]:
    result: dict[str, Any] = {
        "bytes": estimate.weight_bytes,
        "by_component": _by_component(estimate.weight_bytes_by_component),
        "per_device_bytes": list(estimate.weight_bytes_per_device),
    }
    if estimate.stored is not None:
        result["by_dtype"] = estimate.stored.by_dtype
        result["beside"] = [
            {"what": what, "bytes": num_bytes} for what, num_bytes in estimate.stored.beside
        ]
    return result


def _by_component(counts: dict[Component, int]) -> dict[str, int]:
    merged = dict.fromkeys(_KEYS, 0)
    for component, count in counts.items():
        merged[_CONTRACT.get(component, component)] += count
    return merged


def _cache(cache: CacheEstimate) -> dict[str, Any]:
    result: dict[str, Any] = {
        "bytes": cache.bytes,
        "bytes_per_token": cache.bytes_per_token,
        "fixed_bytes_per_sequence": cache.fixed_bytes_per_sequence,
        "per_device_bytes": list(cache.per_device_bytes),
        "groups": [_group(group) for group in cache.groups],
    }
    if cache.range_bytes is not None:
        least, expected, worst = cache.range_bytes
        result["range"] = {"least_bytes": least, "expected_bytes": expected, "worst_bytes": worst}
    if cache.after_prefill_bytes is not None:
        result["after_prefill_bytes"] = cache.after_prefill_bytes
    return result


def _group(group: GroupEstimate) -> dict[str, Any]:
    layers = group.group.layers
    return {
        "layers": [layers[0], layers[-1]],
        "layer_ranges": layer_ranges(layers),
        "indices": list(layers),
        "count": len(layers),
        "stack": group.group.stack,
        "block": group.group.block,
        "mechanism": group.group.mechanism,
        "bytes": group.bytes,
        "tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "dtype": tensor.dtype,
                "bytes": tensor.bytes,
                "extent": tensor.extent,
            }
            for tensor in group.tensors
        ],
    }
