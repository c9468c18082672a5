"""``kvcalc fit --format json``: one object, or a list of them for all accelerators."""

import json
from dataclasses import asdict
from typing import Any

from kvcalc.deployment.fit import Device, Fit
from kvcalc.memory.layout import Layout


def render(fit: Fit) -> str:
    """One object with a newline at its end."""
    return json.dumps(to_object(fit), indent=1) + "\n"


def render_all(fits: list[Fit]) -> str:
    """A list of objects, in the catalogue's order."""
    return json.dumps([to_object(fit) for fit in fits], indent=1) + "\n"


def to_object(fit: Fit) -> dict[str, Any]:
    """Integers only; ``largest_batch`` and ``longest_context`` are 0 where nothing fits;
    ``_least`` is what holds at the lower end of the memory's band."""
    request, device = fit.request, fit.device
    return {
        "schema_version": 1,
        "model": fit.model,
        "device": {
            "name": device.name,
            "bytes": device.bytes,
            "least_bytes": device.least,
            "most_bytes": device.most,
            "measured": device.measured,
            "source": device.source,
        },
        "workload": {
            "context_tokens": request.workload.context_tokens,
            "batch_size": request.workload.batch_size,
            "encoder_tokens": request.workload.encoder_tokens,
            "dtype": request.workload.dtype,
            "kv_dtype": request.workload.cache.kv_name,
        },
        "parallelism": _layout(request.layout),
        "engine": {"name": request.engine, "version": fit.version},
        "overheads_measured": fit.measured,
        "budget_bytes": fit.budget,
        "fits": fit.verdict != "does not fit",
        "verdict": fit.verdict,
        "stages": [_device(one) for one in fit.devices],
        "longest_context": fit.longest_context,
        "longest_context_least": fit.longest_context_least,
        "largest_batch": fit.largest_batch,
        "largest_batch_least": fit.largest_batch_least,
        "fewest": None if fit.fewest is None else _layout(fit.fewest),
        "changes": [{"what": change.what, "cost": change.cost} for change in fit.changes],
        "assumptions": list(fit.notes),
    }


def _layout(layout: Layout) -> dict[str, Any]:
    return {
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        "data": layout.data,
        "expert": layout.tensor * layout.data if layout.expert else 1,
        "devices": layout.devices,
    }


def _device(device: Device) -> dict[str, Any]:
    return {
        "layers": [device.layers.start, device.layers.stop - 1],
        "weights_bytes": device.weight_bytes,
        "overheads": [
            {
                "name": item.name,
                "bytes": item.bytes,
                "least_bytes": item.least,
                "most_bytes": item.most,
                "formula": item.formula,
            }
            for item in device.overheads
        ],
        "free_bytes": device.free,
        "free_least_bytes": device.free_least,
        "free_most_bytes": device.free_most,
        "cache_bytes": device.cache_bytes,
        "reserved_bytes": device.reserved_bytes,
        "waste": [asdict(item) for item in device.waste],
    }
