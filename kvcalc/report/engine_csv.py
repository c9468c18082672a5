"""``kvcalc estimate --engine vllm|...|all --format csv``."""

import csv
from io import StringIO

from kvcalc.engines.workload import EngineCache, Row
from kvcalc.memory.estimate import Estimate
from kvcalc.report.engine_json import shapes

FIELDS = ("model", "part", "name", "layers", "shape", "dtype", "bytes")
ALL_FIELDS = ("model", "engine", "version", "cause", "bytes", "why")


def render(answers: list[tuple[Estimate, EngineCache]]) -> str:
    """One line per component of the weights and per kind of page; then the reasons (part waste)."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for estimate, cache in answers:
        model, dtype = estimate.spec.name, estimate.workload.dtype
        for component, num_bytes in estimate.weight_bytes_by_component.items():
            if num_bytes:
                writer.writerow((model, "weights", component, "", "", dtype, num_bytes))
        copies = cache.ranks * cache.sequences
        for slab in cache.groups:
            count = len(slab.layers) + slab.padding_layers
            sizes = shapes(slab, cache.ranks, cache.sequences)
            for (name, shape), (_, rows, size) in zip(sizes, slab.tensors, strict=True):
                shown = "x".join(map(str, shape))
                row = (model, "cache", f"{slab.block}.{name}", count, shown, "uint8",
                       rows * size * copies * count)  # fmt: skip
                writer.writerow(row)
            if slab.unused_bytes:
                unused = slab.unused_bytes * copies
                writer.writerow((model, "cache", f"{slab.block}.unused", "", "", "uint8", unused))
        for waste in cache.waste:
            writer.writerow((model, "waste", waste.cause, "", "", "", waste.bytes))
    return buffer.getvalue()


def render_all(answers: list[tuple[Estimate, tuple[Row, ...]]]) -> str:
    """A line with all bytes (cause ``held``), then one per cause; a refusal has no bytes."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(ALL_FIELDS)
    for estimate, rows in answers:
        for row in rows:
            start = (estimate.spec.name, row.engine, row.version or "")
            if row.refusal is not None:
                writer.writerow((*start, "refused", "", row.refusal))
                continue
            writer.writerow((*start, "held", row.bytes, ""))
            for waste in row.waste:
                writer.writerow((*start, waste.cause, waste.bytes, waste.why))
    return buffer.getvalue()
