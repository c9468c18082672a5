"""``kvcalc estimate --format markdown``: the answer for a pull request or a page."""

from kvcalc.memory.estimate import Estimate
from kvcalc.report.ranges import describe_layers
from kvcalc.units import format_bytes, format_tokens


def render(estimates: list[Estimate]) -> str:
    """One section per model."""
    return "\n".join(_section(estimate) for estimate in estimates)


def _section(estimate: Estimate) -> str:
    workload, cache = estimate.workload, estimate.cache
    encoder = (
        f", encoder {format_tokens(workload.encoder_tokens)}" if workload.encoder_tokens else ""
    )
    lines = [
        f"### {estimate.spec.name}: {format_tokens(workload.context_tokens)} tokens x "
        f"{workload.batch_size}{encoder}",
        "",
        "| part | layers | tensor | shape | dtype | bytes | |",
        "|---|---|---|---|---|---:|---:|",
    ]
    for component, num_bytes in estimate.weight_bytes_by_component.items():
        if num_bytes:
            lines.append(f"| weights | | {component} | | {workload.dtype} | {num_bytes:,} "
                         f"| {format_bytes(num_bytes)} |")  # fmt: skip
    for group in cache.groups:
        layers = f"{len(group.group.layers)} ({describe_layers(group.group.layers)})"
        for tensor in group.tensors:
            total = tensor.bytes * len(group.group.layers)
            shape = " x ".join(map(str, tensor.shape))
            lines.append(f"| {group.group.block}: {group.group.mechanism} | {layers} "
                         f"| {tensor.name} | {shape} | {tensor.dtype} | {total:,} "
                         f"| {format_bytes(total)} |")  # fmt: skip
    totals = [("weights", estimate.weight_bytes), ("cache", cache.bytes),
              ("together", estimate.total_bytes)]  # fmt: skip
    if len(cache.per_device_bytes) > 1:
        pairs = zip(estimate.weight_bytes_per_device, cache.per_device_bytes, strict=True)
        weights, kept = max(pairs, key=sum)
        totals += [(f"fullest of {len(cache.per_device_bytes)} devices", weights + kept),
                   ("its weights", weights), ("its cache", kept)]  # fmt: skip
    for name, num_bytes in totals:
        lines.append(f"| **{name}** | | | | | **{num_bytes:,}** | **{format_bytes(num_bytes)}** |")
    lines += ["", *(f"- {note}" for note in estimate.assumptions)]
    return "\n".join(lines).rstrip() + "\n"
