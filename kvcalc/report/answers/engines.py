"""``kvcalc estimate --engine vllm|...|all``: what is held, and every byte's reason."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from kvcalc.deployment.estimation import EngineEstimate
from kvcalc.engines import engine_of
from kvcalc.engines.holding import Slab
from kvcalc.engines.loaded import Loaded, Reason
from kvcalc.engines.workload import EngineCache
from kvcalc.memory.estimate import Estimate
from kvcalc.report.answers import estimate as estimate_answer
from kvcalc.report.answers.layers import describe_layers, layer_ranges
from kvcalc.report.cells import (
    Bar,
    Bytes,
    Cell,
    Count,
    ExactBytes,
    Shape,
    Tone,
    Toned,
    ratio,
)
from kvcalc.report.objects import common
from kvcalc.report.objects import estimate as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Part, Row, Sheet, Table, for_csv, table
from kvcalc.units import format_tokens

KEYS = (
    "model", "part", "name", "layers", "shape", "dtype", "bytes", "padding_layers", "why",
)  # fmt: skip


def to_object(found: EngineEstimate) -> dict[str, Any]:
    """The contract's object, with the engine's cache and ``waste``."""
    estimate, cache = found.need, found.held
    groups = [group(slab, cache.ranks, cache.sequences) for slab in cache.groups]
    need = estimate_answer.to_object(estimate)
    return filled(
        objects.EngineEstimate, cache,
        **need | {
            "cache": filled(objects.EngineCache, cache, groups=groups),
            "weights": need["weights"] | _loaded_object(cache.loaded),
            "engine": cache.engine,
            "assumptions": [*_notes(cache), *estimate.assumptions],
            "total_bytes": estimate.weight_bytes + cache.bytes,
        },
        engine_version=cache.version,
    )  # fmt: skip


def _loaded_object(loaded: Loaded | str | None) -> dict[str, Any]:
    """What the engine's classes allocate on each device; null where that is not known."""
    if loaded is None:
        return {}
    if isinstance(loaded, str):
        return dict.fromkeys(
            ("loaded_bytes_per_device", "buffer_bytes_per_device", "loaded_reasons")
        )
    buffers = loaded.buffer_bytes_per_device
    return {
        "loaded_bytes_per_device": list(loaded.bytes_per_device),
        "buffer_bytes_per_device": None if buffers is None else list(buffers),
        "loaded_reasons": _because(loaded.reasons),
        **({"after_loading": _because(loaded.after)} if loaded.after else {}),
    }


def _because(reasons: tuple[Reason, ...]) -> list[dict[str, Any]]:
    return [filled(common.Waste, reason, cause=reason.name) for reason in reasons]


def group(slab: Slab, ranks: int, sequences: int) -> dict[str, Any]:
    """Equal layers on all ranks; tensors are one layer's rows, as bytes."""
    return filled(
        objects.CacheGroup, slab,
        layers=[slab.layers[0], slab.layers[-1]] if slab.layers else None,
        layer_ranges=layer_ranges(slab.layers),
        count=len(slab.layers),
        unused_bytes=slab.unused_bytes * ranks * sequences,
        stack="decoder",
        bytes=slab.bytes * ranks * sequences,
        tensors=[
            {"name": name, "shape": list(shape), "dtype": "uint8", "bytes": prod(shape)}
            for name, shape in shapes(slab, ranks, sequences)
        ],
    )  # fmt: skip


def shapes(slab: Slab, ranks: int, sequences: int) -> list[tuple[str, tuple[int, ...]]]:
    """[ranks,] sequences, rows (pages, slots, cells, states), bytes of a row."""
    leading = (ranks, sequences) if ranks > 1 else (sequences,)
    return [(name, (*leading, rows, row_bytes)) for name, rows, row_bytes in slab.tensors]


def _notes(cache: EngineCache) -> tuple[str, ...]:
    loaded = cache.loaded
    if isinstance(loaded, str):
        return (*cache.rules, *cache.notes, f"loaded weights: {loaded}")
    return (*cache.rules, *cache.notes, *(loaded.notes if loaded else ()))


def subtitle(estimate: Estimate, engine: str) -> str:
    workload = estimate.workload
    return f"{format_tokens(workload.context_tokens)} tokens x {workload.num_sequences}{engine}"


def sheet(found: EngineEstimate) -> Sheet:
    """What is held, how it comes from the need, and the sums."""
    estimate, cache = found.need, found.held
    parts: tuple[Part, ...] = (
        estimate_answer.in_one_line(estimate, cache.bytes), _groups(cache), _reasons(cache),
        *loaded_tables(cache.loaded), estimate_answer.totals(_totals(estimate, cache)),
        _components(estimate), _tensors(cache),
    )  # fmt: skip
    about = subtitle(estimate, f", in {engine_of(cache.engine).named(cache.version)}")
    notes = (*_notes(cache), *estimate.assumptions)
    return Sheet(estimate.spec.name, about, parts, notes, KEYS)


def _components(estimate: Estimate) -> Table:
    """The weights, for csv alone: ``estimate`` without an engine shows them."""
    columns = for_csv("name", "dtype", "bytes")
    parts = estimate.weight_bytes_by_component.items()
    rows = (Row((name, estimate.workload.dtype, Bytes(size))) for name, size in parts if size)
    return Table("weights", columns, tuple(rows))


def _groups(cache: EngineCache) -> Table:
    columns = (
        Column("cache", "name"), Column("layers", wraps=True), Column("padding", "padding_layers"),
        Column("holds", "shape", wraps=True), Column("bytes", "bytes"), Column(""),
        Column(None, "layers"),
    )  # fmt: skip
    copies = cache.ranks * cache.sequences
    rows = []
    for slab in cache.groups:
        layers = f"{len(slab.layers)} ({describe_layers(slab.layers)})" if slab.layers else ""
        sizes = shapes(slab, cache.ranks, cache.sequences)
        held = ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in sizes)
        rows.append(Row((
            f"{slab.block}: {slab.mechanism}", layers,
            Count(slab.padding_layers) if slab.padding_layers else None, Toned(f"{held} B", "faint"),
            Bytes(slab.bytes * copies), Bar(slab.bytes * copies, cache.bytes, 10, "magenta"),
            Count(len(slab.layers)),
        ), depth=1))  # fmt: skip
    return table("cache group", columns, rows)


def _tensors(cache: EngineCache) -> Table:
    """A row for each kind of page, for csv alone; they add up to what is held."""
    columns = for_csv("name", "layers", "shape", "dtype", "bytes")
    copies, rows = cache.ranks * cache.sequences, []
    for slab in cache.groups:
        count = len(slab.layers) + slab.padding_layers
        for name, shape in shapes(slab, cache.ranks, cache.sequences):
            size = Bytes(prod(shape) * count)
            rows.append(Row((f"{slab.block}.{name}", Count(count), Shape(shape), "uint8", size)))
        if slab.unused_bytes:
            unused = Bytes(slab.unused_bytes * copies)
            rows.append(Row((f"{slab.block}.unused", None, None, "uint8", unused)))
    return Table("cache", columns, tuple(rows))


def _reasons(cache: EngineCache) -> Table:
    rows = [_figure("logical need", cache.logical_bytes, part="need")]
    rows += [_step(waste.cause, waste.bytes, waste.why) for waste in cache.waste]
    held = f"{ratio(cache.bytes, cache.logical_bytes)} the need"
    rows.append(_figure("held", cache.bytes, held, "held", "strong"))
    return _steps("waste", "from the need to what is held", rows)


def loaded_tables(loaded: Loaded | str | None) -> Iterator[Table]:
    """The checkpoint's bytes, each reason's, and what all devices hold."""
    if loaded is None or isinstance(loaded, str):
        return
    rows = [_figure("checkpoint", loaded.checkpoint_bytes, part="checkpoint")]
    rows += [_step(reason.name, reason.bytes, reason.why) for reason in loaded.reasons]
    total, devices = sum(loaded.bytes_per_device), len(loaded.bytes_per_device)
    where = "" if devices == 1 else f" on {devices} devices"
    rows.append(_figure(f"loaded{where}", total, part="loaded", tone="strong"))
    if devices > 1:
        fullest = max(loaded.bytes_per_device)
        rows.append(_figure("on the fullest device", fullest, part="loaded"))
    if loaded.buffer_bytes_per_device is not None:
        each = "" if devices == 1 else " on each device"
        why = Toned("rotary tables and scales, beside the weights", "faint")
        rows.append(_figure(f"buffers{each}", max(loaded.buffer_bytes_per_device), why, "buffers"))
    rows += [
        _step(each.name, each.bytes, f"once loaded{where}: {each.why}") for each in loaded.after
    ]
    yield _steps("loaded weights", "from the checkpoint to loaded", rows)


def _steps(part: str, title: str, rows: Sequence[Row]) -> Table:
    """From one figure to another, a reason a row."""
    columns = (Column(title, "name", wraps=True), Column("bytes", "bytes"),
               Column("", right=True), Column("why", "why", wraps=True))  # fmt: skip
    return Table(part, columns, tuple(rows))


def _figure(name: str, num_bytes: int, said: Cell = "", part: str = "", tone: Tone = "") -> Row:
    return Row((name, ExactBytes(num_bytes), Bytes(num_bytes), said), tone, 1, part)


def _step(cause: str, num_bytes: int, why: str) -> Row:
    sizes = (ExactBytes(num_bytes, signed=True), Bytes(num_bytes))
    return Row((cause, *sizes, Toned(why, "faint")), depth=1)


def _totals(estimate: Estimate, cache: EngineCache) -> Iterator[Row]:
    figure = estimate_answer.figure
    yield figure(f"weights ({estimate.workload.dtype})", estimate.weight_bytes)
    yield figure("cache", cache.bytes)
    yield figure("together", estimate.weight_bytes + cache.bytes)
    yield figure("cache per token", cache.bytes_per_token)
    if cache.fixed_bytes_per_sequence:
        yield figure("fixed per sequence", cache.fixed_bytes_per_sequence)
    if len(cache.per_device_bytes) > 1:
        pairs = zip(estimate.weight_bytes_per_device, cache.per_device_bytes, strict=True)
        yield figure(f"fullest of {len(cache.per_device_bytes)} devices", max(map(sum, pairs)))
