"""``kvcalc fit`` and ``capacity`` for llama.cpp: its own memory table, and the command to paste."""

from collections.abc import Callable, Iterator
from typing import Any

from kvcalc.engines.llama_cpp.alongside import Beside
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.local import LocalFit, headline
from kvcalc.engines.llama_cpp.memory import Use
from kvcalc.report.answers.fit import closing_tables
from kvcalc.report.cells import Bytes, Cell, Code, Count, Mebibytes
from kvcalc.report.objects import fit as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Line, Part, Sheet, Table, rows_of
from kvcalc.units import format_bytes

KEYS = (
    "model", "part", "device", "name", "layers", "memory_bytes", "model_bytes", "cache_bytes",
    "output_bytes", "compute_bytes", "compute_most_bytes", "outside_bytes", "free_bytes", "note", "value",
)  # fmt: skip


def to_object(fit: LocalFit) -> dict[str, Any]:
    """Bytes as integers; the host is the last of ``devices``. ``compute_bytes`` is the upper end of
    its band, null where it is not predicted; ``free_bytes`` is at that end, null without --ram."""
    question = fit.question
    workload = {"context_tokens": fit.context_tokens, "batch_size": question.slots,
                "kv_dtype": _kv_dtype(question.flags)}  # fmt: skip
    return filled(
        objects.LocalFit, fit,
        engine={"name": question.engine, "version": fit.version},
        workload=filled(objects.LocalWorkload, question, **workload),
        devices=[_use(use) for use in fit.table.uses],
        placement=filled(objects.Placement, fit, layers=[use.layers for use in fit.table.uses]),
    )  # fmt: skip


def _kv_dtype(flags: LlamaCppFlags) -> str:
    key, value = flags.cache_type_k or "fp16", flags.cache_type_v or "fp16"
    return key if key == value else f"{key}:{value}"


def _use(use: Use) -> dict[str, Any]:
    kept = [{"name": name, "most_bytes": size} for name, size in use.kept]
    return filled(objects.Use, use, kept=kept, free_bytes=use.free())


def sheet(fit: LocalFit) -> Sheet:
    parts: list[Part] = [Line(headline(fit), close=True)]
    parts_of = [part for use in fit.table.uses for part in (use, *use.beside)]
    parts.append(Table("device", _COLUMNS, rows_of(_COLUMNS, parts_of)))
    changes = [(change.what, change.effect) for change in fit.changes]
    parts += closing_tables("how it runs", _answers(fit), "what reads less of RAM, or makes it fit",
                            "what it does", changes)  # fmt: skip
    return Sheet(fit.model, "", tuple(parts), fit.notes, KEYS)


def _named(part: Use | Beside) -> str:
    """What lies on a device beside the model stands below it; it is counted in what is free."""
    return part.name if isinstance(part, Use) else f"+ {part.name}"


def _compute(part: Use | Beside) -> Cell:
    most = part.compute.most
    return "not predicted" if most is None else Mebibytes(most + part.output_bytes)


def _of_device(of: Callable[[Use], int | None]) -> Callable[[Use | Beside], int | None]:
    """What is said of a device alone."""
    return lambda part: of(part) if isinstance(part, Use) else None


_COLUMNS = (
    Column("MiB", "device", of=_named),
    Column("layers", "layers", Count, _of_device(lambda use: use.layers)),
    Column("total", "memory_bytes", Mebibytes, _of_device(lambda use: use.memory)),
    Column("model", "model_bytes", Mebibytes), Column("context", "cache_bytes", Mebibytes),
    Column("compute, at most", of=_compute, right=True),
    Column("outside", "outside_bytes", Mebibytes, _of_device(lambda use: use.outside.most or 0)),
    Column("free", "free_bytes", Mebibytes, _of_device(Use.free), right=True),
    Column(None, "output_bytes", Bytes),
    Column(None, "compute_bytes", Bytes, lambda part: part.compute.least),
    Column(None, "compute_most_bytes", Bytes, lambda part: part.compute.most),
)  # fmt: skip


def _answers(fit: LocalFit) -> Iterator[tuple[Cell, Cell, Cell]]:
    placed, layers = fit.table.placement, len(fit.table.placement.layers)
    number = fit.placing.num_cpu_moe
    experts = ", all experts in RAM" if number is None else (
        f", experts of the first {number} in RAM" if number else "")  # fmt: skip
    yield ("layers on devices", f"{placed.num_offloaded} of {layers}, the output counted{experts}",
           Count(placed.num_offloaded))  # fmt: skip
    setup = fit.question.flags
    yield "cache", f"K {_name(setup.cache_type_k)}, V {_name(setup.cache_type_v)}", None
    read = fit.table.read_bytes
    yield "read of RAM for a token", format_bytes(read) if read else "nothing", Count(read)
    longest = fit.longest_context
    yield ("longest context so", "any" if longest is None else f"{longest:,} tokens" if longest
           else "none", None if longest is None else Count(longest))  # fmt: skip
    yield "command", Code(fit.command), None


def _name(word: str | None) -> str:
    return {"fp16": "f16", "fp32": "f32", None: "f16"}.get(word, word or "f16")
