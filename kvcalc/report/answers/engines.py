"""``kvcalc estimate --engine vllm|...|all``: what is held, and every byte's reason."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from kvcalc.engines import engine_of
from kvcalc.engines.holding import Slab
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.result import Waste
from kvcalc.engines.workload import EngineCache
from kvcalc.engines.workload import Row as Accounting
from kvcalc.memory.estimate import Estimate
from kvcalc.report.answers import estimate as estimate_answer
from kvcalc.report.answers.layers import describe_layers, layer_ranges
from kvcalc.report.sheet import (
    Answer,
    Bar,
    Bytes,
    Column,
    Count,
    ExactBytes,
    Part,
    Row,
    Shape,
    Sheet,
    Table,
    Times,
    Toned,
    answer_of,
    ratio,
    table,
)
from kvcalc.units import format_bytes, format_tokens

KEYS = (
    "model", "part", "name", "layers", "shape", "dtype", "bytes", "padding_layers", "why",
)  # fmt: skip
ALL_KEYS = ("model", "engine", "version", "cause", "bytes", "why")


def answer(found: Sequence[tuple[str, Estimate, EngineCache]]) -> Answer:
    """found: (path of the spec, logical, held)."""
    return answer_of(
        lambda: [sheet(estimate, cache) for _, estimate, cache in found],
        lambda: [to_object(*each) for each in found],
    )


def answer_all(found: Sequence[tuple[str, Estimate, tuple[Accounting, ...]]]) -> Answer:
    """All accountings side by side, refusals included."""
    return answer_of(
        lambda: [sheet_of_all(estimate, rows) for _, estimate, rows in found],
        lambda: [_all_object(*each) for each in found],
    )


def _all_object(path: str, estimate: Estimate, rows: tuple[Accounting, ...]) -> dict[str, Any]:
    result = estimate_answer.to_object(path, estimate)
    result["engine"] = "all"
    result["engines"] = [_engine_object(row, estimate.cache.bytes) for row in rows]
    return result


def to_object(path: str, estimate: Estimate, cache: EngineCache) -> dict[str, Any]:
    """The contract's object, with the engine's cache and ``waste``."""
    result = estimate_answer.to_object(path, estimate)
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
    if cache.loaded is not None:
        result["weights"] |= _loaded_object(cache.loaded)
    result["waste"] = [_waste(waste) for waste in cache.waste]
    result["assumptions"] = [*_notes(cache), *estimate.assumptions]
    result["total_bytes"] = estimate.weight_bytes + cache.bytes
    return result


def _loaded_object(loaded: Loaded | str) -> dict[str, Any]:
    """What the engine's classes allocate on each device; null where that is not known."""
    if isinstance(loaded, str):
        return {"loaded_bytes_per_device": None, "buffer_bytes_per_device": None,
                "loaded_reasons": None}  # fmt: skip
    buffers = loaded.buffer_bytes_per_device
    return {
        "loaded_bytes_per_device": list(loaded.bytes_per_device),
        "buffer_bytes_per_device": None if buffers is None else list(buffers),
        "loaded_reasons": [
            {"cause": reason.name, "bytes": reason.bytes, "why": reason.why}
            for reason in loaded.reasons
        ],
    }


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


def _notes(cache: EngineCache) -> tuple[str, ...]:
    loaded = cache.loaded
    said = (
        ("loaded weights: " + loaded,)
        if isinstance(loaded, str)
        else loaded.notes
        if loaded
        else ()
    )
    return (*cache.rules, *cache.notes, *said)


def _waste(waste: Waste) -> dict[str, Any]:
    return {"cause": waste.cause, "bytes": waste.bytes, "why": waste.why}


def _engine_object(row: Accounting, logical_bytes: int) -> dict[str, Any]:
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


def _subtitle(estimate: Estimate, engine: str) -> str:
    workload = estimate.workload
    return f"{format_tokens(workload.context_tokens)} tokens x {workload.num_sequences}{engine}"


def sheet(estimate: Estimate, cache: EngineCache) -> Sheet:
    """What is held, how it comes from the need, and the sums."""
    parts: tuple[Part, ...] = (
        estimate_answer.in_one_line(estimate, cache.bytes), _groups(cache), _reasons(cache),
        *loaded_tables(cache.loaded), _totals(estimate, cache), _components(estimate), _tensors(cache),
    )  # fmt: skip
    subtitle = _subtitle(estimate, f", in {engine_of(cache.engine).named(cache.version)}")
    notes = (*_notes(cache), *estimate.assumptions)
    return Sheet(estimate.spec.name, subtitle, parts, notes, KEYS)


def _components(estimate: Estimate) -> Table:
    """The weights, for csv alone: ``estimate`` without an engine shows them."""
    columns = (Column(None, "name"), Column(None, "dtype"), Column(None, "bytes"))
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
    columns = (Column(None, "name"), Column(None, "layers"), Column(None, "shape"),
               Column(None, "dtype"), Column(None, "bytes"))  # fmt: skip
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
    columns = (Column("from the need to what is held", "name", wraps=True), Column("bytes", "bytes"),
               Column("", right=True), Column("why", "why", wraps=True))  # fmt: skip
    rows = [Row(("logical need", ExactBytes(cache.logical_bytes), Bytes(cache.logical_bytes), ""),
                depth=1, part="need")]  # fmt: skip
    for waste in cache.waste:
        why = Toned(waste.why, "faint")
        rows.append(Row((waste.cause, ExactBytes(waste.bytes, signed=True), Bytes(waste.bytes), why),
                        depth=1))  # fmt: skip
    held = f"{ratio(cache.bytes, cache.logical_bytes)} the need"
    rows.append(
        Row(("held", ExactBytes(cache.bytes), Bytes(cache.bytes), held), "strong", 1, "held")
    )
    return Table("waste", columns, tuple(rows))


def loaded_tables(loaded: Loaded | str | None) -> Iterator[Table]:
    """The checkpoint's bytes, each reason's, and what all devices hold."""
    if loaded is None or isinstance(loaded, str):
        return
    columns = (Column("from the checkpoint to loaded", "name", wraps=True), Column("bytes", "bytes"),
               Column("", right=True), Column("why", "why", wraps=True))  # fmt: skip
    stored = loaded.checkpoint_bytes
    rows = [Row(("checkpoint", ExactBytes(stored), Bytes(stored), ""), depth=1, part="checkpoint")]
    for reason in loaded.reasons:
        rows.append(Row((reason.name, ExactBytes(reason.bytes, signed=True), Bytes(reason.bytes),
                         Toned(reason.why, "faint")), depth=1))  # fmt: skip
    total, devices = sum(loaded.bytes_per_device), len(loaded.bytes_per_device)
    where = "" if devices == 1 else f" on {devices} devices"
    rows.append(Row((f"loaded{where}", ExactBytes(total), Bytes(total), ""), "strong", 1, "loaded"))
    if devices > 1:
        fullest = max(loaded.bytes_per_device)
        rows.append(Row(("on the fullest device", ExactBytes(fullest), Bytes(fullest), ""), depth=1,
                        part="loaded"))  # fmt: skip
    if loaded.buffer_bytes_per_device is not None:
        beside = max(loaded.buffer_bytes_per_device)
        each = "" if devices == 1 else " on each device"
        rows.append(Row((f"buffers{each}", ExactBytes(beside), Bytes(beside),
                         Toned("rotary tables and scales, beside the weights", "faint")), depth=1,
                        part="buffers"))  # fmt: skip
    yield Table("loaded weights", columns, tuple(rows))


def _totals(estimate: Estimate, cache: EngineCache) -> Table:
    rows: list[tuple[str, int]] = [
        (f"weights ({estimate.workload.dtype})", estimate.weight_bytes),
        ("cache", cache.bytes),
        ("together", estimate.weight_bytes + cache.bytes),
        ("cache per token", cache.bytes_per_token),
    ]
    if cache.fixed_bytes_per_sequence:
        rows.append(("fixed per sequence", cache.fixed_bytes_per_sequence))
    if len(cache.per_device_bytes) > 1:
        pairs = zip(estimate.weight_bytes_per_device, cache.per_device_bytes, strict=True)
        rows.append((f"fullest of {len(cache.per_device_bytes)} devices", max(map(sum, pairs))))
    columns = (
        Column("total", "name", wraps=True),
        Column("bytes", "bytes"),
        Column("", right=True),
    )
    said = (Row((name, ExactBytes(size), Bytes(size)), depth=1) for name, size in rows)
    return Table("total", columns, tuple(said))


def sheet_of_all(estimate: Estimate, rows: tuple[Accounting, ...]) -> Sheet:
    """An accounting a row, and beside it what it adds to the need; csv has each cause by itself."""
    columns = (
        Column("accounting"), Column("cache"), Column("bytes"), Column("ratio"), Column(""),
        Column("beyond the need", wraps=True),
    )  # fmt: skip
    largest = max(row.bytes or 0 for row in rows)
    shown = tuple(_accounting(row, estimate.cache.bytes, largest) for row in rows)
    keys = tuple(Column(None, key) for key in ALL_KEYS[1:])
    causes = tuple(line for row in rows for line in _causes(row))
    parts = (Table("", columns, shown), Table("", keys, causes))
    return Sheet(estimate.spec.name, _subtitle(estimate, ""), parts, estimate.assumptions, ALL_KEYS)


def _accounting(row: Accounting, logical: int, largest: int) -> Row:
    name = engine_of(row.engine).named(row.version)
    if row.bytes is None:
        return Row((name, "-", None, None, None, Toned(row.refusal or "", "warn")))
    why = ", ".join(
        f"{'+' if waste.bytes > 0 else '-'}{format_bytes(abs(waste.bytes))} {waste.cause}"
        for waste in row.waste
    )
    return Row((
        Toned(name, "strong"), Bytes(row.bytes), ExactBytes(row.bytes), Times(row.bytes, logical),
        Bar(row.bytes, largest, 10, "magenta"), Toned(why, "faint"),
    ))  # fmt: skip


def _causes(row: Accounting) -> Iterator[Row]:
    about = (row.engine, row.version or "")
    if row.bytes is None:
        yield Row((*about, "refused", None, row.refusal or ""))
        return
    yield Row((*about, "held", Bytes(row.bytes), ""))
    for waste in row.waste:
        yield Row((*about, waste.cause, Bytes(waste.bytes), waste.why))
