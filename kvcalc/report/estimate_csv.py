"""``kvcalc estimate --format csv``: one line per tensor of the cache and per component of the weights.

layers: how many layers keep such a tensor. shape, bytes_per_layer: one layer's, of all sequences.
bytes: of all those layers together; the lines of a part add up to it. Where there are several devices,
``device weights`` and ``device cache`` say what each holds, numbered in the name.
"""

import csv
from io import StringIO

from kvcalc.memory.estimate import Estimate

FIELDS = ("model", "part", "name", "layers", "shape", "dtype", "bytes_per_layer", "bytes")


def render(estimates: list[Estimate]) -> str:
    """The header and the lines; weights are not divided into layers."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for estimate in estimates:
        model, dtype = estimate.spec.name, estimate.workload.dtype
        for component, num_bytes in estimate.weight_bytes_by_component.items():
            if num_bytes:
                writer.writerow((model, "weights", component, "", "", dtype, "", num_bytes))
        for group in estimate.cache.groups:
            count = len(group.group.layers)
            for tensor in group.tensors:
                shape = "x".join(map(str, tensor.shape))
                name = f"{group.group.block}.{tensor.name}"
                writer.writerow((model, "cache", name, count, shape, tensor.dtype, tensor.bytes,
                                 tensor.bytes * count))  # fmt: skip
        per_device = (estimate.weight_bytes_per_device, estimate.cache.per_device_bytes)
        if len(per_device[0]) > 1:
            for part, devices in zip(("weights", "cache"), per_device, strict=True):
                for number, num_bytes in enumerate(devices):
                    writer.writerow((model, f"device {part}", number, "", "", "", "", num_bytes))
    return buffer.getvalue()
