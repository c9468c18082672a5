"""``kvcalc fit``: the verdict, where the memory goes, and what would help."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kvcalc.deployment.answer import Device, Fit, step_of
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.overhead import CARRIED_OVER
from kvcalc.deployment.together import Together
from kvcalc.report.answers.estimate import tokens_asked
from kvcalc.report.cells import Bytes, Cell, Code, Count
from kvcalc.report.objects import fit as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Line, Part, Row, Sheet, Table, for_csv
from kvcalc.units import format_bytes, format_tokens

KEYS = (
    "model", "part", "device", "stage", "name", "bytes", "least_bytes", "most_bytes", "note", "value",
)  # fmt: skip


def to_object(fit: Fit) -> dict[str, Any]:
    """Integers only; ``largest_batch`` and ``longest_context`` are 0 where nothing fits, null for any;
    ``_least`` is what holds at the lower end of the memory's band."""
    engine = {"name": fit.request.engine, "version": fit.version}
    return filled(objects.Fit, fit, engine=engine)


def sheet(fit: Fit) -> Sheet:
    """One accelerator."""
    parts: list[Part] = [Line(_headline(fit), close=True)]
    for device in fit.devices:
        layers = device.layers
        stage = f"stage {device.stage}: layers {layers.start} to {layers.stop - 1}"
        columns = (
            Column("on one device of each stage", "name", wraps=True), Column("bytes", "bytes"),
            # Whose band it is stands above it.
            Column(_evidence(fit), "note", wraps=True),
            *for_csv("least_bytes", "most_bytes", "stage"),
        )  # fmt: skip
        rows = tuple(Row((*cells, Count(device.stage))) for cells in _device_rows(fit, device))
        caption = stage if len(fit.devices) > 1 else ""
        parts.append(Table("device", columns, rows, caption=caption))
    changes = [(change.what, change.cost) for change in fit.changes]
    parts += closing_tables("how far it goes", _answer_rows(fit), "what would make it fit",
                            "what it costs", changes)  # fmt: skip
    return Sheet(fit.model, "", tuple(parts), fit.notes, KEYS)


def closing_tables(
    about: str, answers: Iterable[tuple[Cell, Cell, Cell]], what: str, effect: str,
    changes: Sequence[tuple[str, str]],
) -> Iterator[Table]:  # fmt: skip
    """The answers in words, with what they are in numbers, then what to change."""
    columns = (Column(about, "name", wraps=True), Column("", "note", wraps=True),
               Column(None, "value"))  # fmt: skip
    yield Table("answer", columns, tuple(map(Row, answers)), headed=False)
    if changes:
        titles = (Column(what, "name", wraps=True), Column(effect, "note", wraps=True))
        yield Table("change", titles, tuple(Row((Code(name), said)) for name, said in changes))


def _evidence(fit: Fit) -> str:
    """Where the bands are from; nothing where nothing has one."""
    if not any(device.overheads for device in fit.devices):
        return ""
    return "measured band" if fit.measured else CARRIED_OVER


def _headline(fit: Fit) -> str:
    """One sentence: what was asked, and the verdict."""
    request, asked = fit.request, fit.request.workload
    encoder = f" and {asked.encoder_tokens:,} of the encoder" if asked.encoder_tokens else ""
    each = f"{tokens_asked(asked)}{encoder} x {asked.batch_size}"
    devices = request.layout.devices
    return (
        f"{each} in {asked.cache.kv_name}, weights in {asked.dtype}, on {devices} x "
        f"{fit.device.name} ({request.layout}){by_engine(fit)}: {fit.verdict}"
    )


def by_engine(found: Fit | Choices | Together) -> str:
    """``, vLLM 0.33.0``, ``, Ollama (llama.cpp v0.5.0)``: whose pages are counted; nothing for the
    logical need."""
    if found.version is None:
        return ""
    words, runs = found.request.engine_words, found.request.record.runs
    return f", {words} ({runs} {found.version})" if runs else f", {words} {found.version}"


def _device_rows(fit: Fit, device: Device) -> Iterator[tuple[Cell, ...]]:
    """What one device's memory goes to: what, bytes, beside it, the band's two ends."""
    request = fit.request
    of = fit.share.of
    share = f"x {float(of):g} that the engine may use"
    of_free = request.record.share_of == "free"
    yield "memory", Bytes(fit.device.bytes), "", None, None
    if not of_free and of < 1:
        yield share, Bytes(fit.budget), "", None, None
    yield "weights", Bytes(device.weight_bytes), _parts(device), None, None
    for item in device.overheads:
        yield item.name, Bytes(item.bytes), *_band(item.least_bytes, item.most_bytes)
    what = "free" if of_free else "left for the cache"
    band = _band(device.free_least, device.free_most) if device.overheads else ("", None, None)
    yield what, Bytes(device.free), *band
    if of_free:
        yield share, Bytes(int(device.free * of)), "", None, None
    yield "logical need of the requests", Bytes(device.cache_bytes), "", None, None
    if request.record.hold is not None:
        reserved = f"reserved by {request.engine_words}"
        yield reserved, Bytes(device.reserved_bytes), _why(device), None, None


def _parts(device: Device) -> str:
    """What of the weights is not the model's own."""
    parts = [f"{name} {format_bytes(num_bytes)}" for name, num_bytes in device.beside]
    return f"{', '.join(parts)} of it" if parts else ""


def _band(least: int, most: int) -> tuple[Cell, Cell, Cell]:
    said = f"{format_bytes(least)} to {format_bytes(most)}" if least != most else ""
    return said, Bytes(least), Bytes(most)


def _why(device: Device) -> str:
    """What the engine takes beyond the need: the two largest causes, and the rest."""
    causes = [(item.cause, item.bytes) for item in device.waste]
    if len(causes) > 2:
        causes = [*causes[:2], ("other", sum(num_bytes for _, num_bytes in causes[2:]))]
    return ", ".join(
        f"{'+' if num_bytes > 0 else '-'} {format_bytes(abs(num_bytes))} {cause}"
        for cause, num_bytes in causes
        if num_bytes
    )


def _answer_rows(fit: Fit) -> Iterator[tuple[Cell, Cell, Cell]]:
    """How far it goes; beside it what holds at the lower end of the band."""
    request = fit.request
    longest = f"longest context for a batch of {request.workload.batch_size}"
    yield longest, _longest(fit), _count(fit.longest_context)
    largest = f"largest batch at {format_tokens(request.workload.context_tokens)} tokens"
    yield largest, _largest(fit), _count(fit.largest_batch)
    least = None if fit.fewest is None else Count(fit.fewest.devices)
    yield "fewest devices that hold the request", fewest(fit), least


def _longest(fit: Fit) -> str:
    if fit.longest_context is None:
        return "any"
    if not fit.longest_context:
        return "none"
    tokens, least, own = fit.longest_context, fit.longest_context_least, fit.model_context
    if own is not None and tokens >= own:
        whose = " (the model's longest)" if tokens == own else f" (made for at most {own:,})"
    else:
        whose = ""
    low = "" if least == tokens else f"; {in_words(least)} at the band's lower end"
    encoder = fit.request.workload.encoder_tokens
    beside = f" beside {encoder:,} of the encoder" if encoder else ""
    return f"{tokens:,} tokens{beside}{whose}{low}"


def _largest(fit: Fit) -> str:
    number, least = fit.largest_batch, fit.largest_batch_least
    if number is None:
        return "any"
    if not number:
        return "none"
    low = "" if least == number else f"; {in_words(least)} at the band's lower end"
    more = -(-number // fit.request.layout.data)
    step = step_of(fit.device, fit.request.of(batch_size=1))
    beyond = fit.request.record.schedules and step is not None and more > step.requests
    flag = f" with --max-num-seqs {more}" if beyond else ""
    return f"{number:,} {'request' if number == 1 else 'requests'}{flag}{low}"


def _count(number: int | None) -> Cell:
    return None if number is None else Count(number)


def in_words(number: int | None, none: str = "none") -> str:
    if number is None:
        return "any"
    return f"{number:,}" if number else none


def fewest(fit: Fit, short: bool = False) -> str:
    """``2 (TP 2 x PP 1, tight)``; short: without what is 1."""
    if fit.fewest is None:
        most = fit.request.record.most_devices
        return "more than 64" if most is None else f"more than {most}"
    said = [str(fit.fewest)]
    if short and said == [f"TP {fit.fewest.tensor} x PP 1"]:
        said = [f"TP {fit.fewest.tensor}"] if fit.fewest.tensor > 1 else []
    said += ["tight"] if fit.fewest_verdict == "tight" else []
    return f"{fit.fewest.devices}" + (f" ({', '.join(said)})" if said else "")
