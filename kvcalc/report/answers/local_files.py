"""``kvcalc fit`` of one model under llama.cpp without a type: which file, with which flags."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from kvcalc.engines.llama_cpp.files import LocalFiles, file_bytes
from kvcalc.engines.llama_cpp.local import LocalFit, where_line
from kvcalc.report.answers import local
from kvcalc.report.cells import Bytes, Count
from kvcalc.report.objects import fit as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Line, Part, Sheet, Table, rows_of
from kvcalc.units import format_bytes

KEYS = (
    "model", "dtype", "model_bytes", "layers_on_devices", "experts_in_ram", "read_bytes_per_token",
    "longest_context", "verdict", "command",
)  # fmt: skip


def to_object(found: LocalFiles) -> dict[str, Any]:
    """Every type's whole answer; ``whole`` and ``widest`` are the types that are named to people."""
    whole, widest = found.whole, found.widest
    return filled(
        objects.LocalFiles, found, model=found.each[0].model,
        whole=None if whole is None else whole.question.dtype,
        widest=None if widest is None else widest.question.dtype,
        files=[local.to_object(fit) for fit in found.each],
    )  # fmt: skip


def sheet(found: LocalFiles) -> Sheet:
    """A row for each type, then one to begin with: the widest that is whole on the devices, or else
    the one that reads the least of RAM."""
    first, whole, widest = found.each[0], found.whole, found.widest
    rows = rows_of(_COLUMNS, found.each)
    # Nobody reads a column of a dense model's experts.
    columns = tuple(
        replace(column, title=None)
        if column.key == "experts_in_ram"
        and all(fit.placing.num_cpu_moe == 0 for fit in found.each)
        else column
        for column in _COLUMNS
    )
    parts: list[Part] = [Line(where_line(first), close=True), Table("", columns, rows)]
    if whole is not None:
        parts.append(_paste(whole, "the widest that reads nothing of RAM"))
    elif widest is not None and not first.question.machine.devices:
        parts.append(_paste(widest, "the widest that runs"))
    elif widest is not None:
        least = min(found.holding, key=lambda fit: fit.table.read_bytes)
        parts.append(_paste(least, "the one that reads the least of RAM"))
    return Sheet(first.model, "", tuple(parts), tuple(_notes(found)), KEYS)


def _placed(fit: LocalFit) -> str:
    placed = fit.table.placement
    return f"{placed.num_offloaded} of {len(placed.layers)}"


def _experts(fit: LocalFit) -> str | None:
    number = fit.placing.num_cpu_moe
    return "all" if number is None else f"{number} layers" if number else None


def _held(of: Callable[[LocalFit], Any]) -> Callable[[LocalFit], Any]:
    """What is said of a file that runs."""
    return lambda fit: of(fit) if fit.fits else None


_COLUMNS = (
    Column("weights in", "dtype", of=lambda fit: fit.question.dtype),
    Column("weights", "model_bytes", Bytes, file_bytes),
    Column("on devices", "", of=_held(_placed), right=True),
    Column(None, "layers_on_devices", Count, lambda fit: fit.table.placement.num_offloaded),
    Column("experts in RAM", "experts_in_ram", of=_held(_experts), right=True),
    Column("read of RAM a token", "read_bytes_per_token", Bytes, _held(lambda fit: fit.table.read_bytes)),
    Column("longest context so", "longest_context", Count, _held(lambda fit: fit.longest_context)),
    Column("", "verdict"), Column(None, "command", of=_held(lambda fit: fit.command)),
)  # fmt: skip


def _paste(fit: LocalFit, said: str) -> Line:
    return Line(fit.command, lead=f"{said}, {fit.question.dtype}:")


def _lacking(narrowest: LocalFit) -> str:
    """Why nothing fits, by the smallest file."""
    machine, weights = narrowest.question.machine, file_bytes(narrowest)
    memory = sum(machine.free) + (machine.ram or 0)
    where = "the devices and RAM have together" if machine.devices else "RAM has"
    if weights <= memory:
        return (
            f"{narrowest.question.dtype}, the narrowest, leaves {format_bytes(memory - weights)} of the "
            f"{format_bytes(memory)} that {where}: --dtype {narrowest.question.dtype} shows what takes more"
        )
    return (
        f"{narrowest.question.dtype}, the narrowest, takes {format_bytes(weights)} of weights alone, "
        f"{format_bytes(weights - memory)} more than the {format_bytes(memory)} that {where}"
    )


def _notes(found: LocalFiles) -> Iterator[str]:
    """What holds for every type: the notes of the first that they share."""
    if found.widest is None:
        yield _lacking(found.each[-1])
        yield from (f"{left.dtype}: {left.reason}" for left in found.left_out)
        yield from found.notes
        return
    others = [set(fit.notes) for fit in found.each[1:]]
    for note in found.each[0].notes:
        if all(note in other for other in others):
            yield note
    yield from found.notes
    yield from (f"{left.dtype}: {left.reason}" for left in found.left_out)
    yield "--dtype TYPE shows its memory table, device by device"
