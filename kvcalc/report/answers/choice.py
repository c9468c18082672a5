"""``kvcalc fit`` of several models, or of one in every format: which fit, in what, how far."""

from collections.abc import Iterator
from typing import Any

from kvcalc.deployment.choice import Choice, Choices, Way
from kvcalc.report.cells import Bytes, Cell, Count
from kvcalc.report.objects import fit as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Answer, Column, Line, Part, Row, Sheet, Table, for_csv
from kvcalc.units import format_bytes, format_tokens

KEYS = (
    "model", "parameters", "dtype", "verdict", "weights_bytes", "free_bytes", "longest_context",
    "largest_batch", "command",
)  # fmt: skip


def answer(choices: Choices) -> Answer:
    return Answer(lambda: [sheet(choices)], lambda: to_object(choices))


def to_object(choices: Choices) -> dict[str, Any]:
    """``best`` is the widest of ``formats`` that fits, null where none does; ``formats`` goes from the
    widest to it, or to the narrowest where one model was asked about. ``weights_bytes`` is null where
    it is more than the devices have, whatever it is. ``free_bytes``: left for the cache; with
    llama.cpp what the requests leave."""
    request, tokens = choices.request, choices.context_tokens
    return filled(
        objects.Choices, choices,
        engine={"name": request.engine, "version": choices.version},
        workload=filled(objects.ShortWorkload, request.workload, context_tokens=tokens),
    )  # fmt: skip


_COLUMNS = (
    Column("model", "model"), Column("weights in", "dtype"), Column("weights"),
    Column("longest context", right=True), Column("largest batch", right=True), Column("", "verdict"),
    *for_csv("parameters", "weights_bytes", "free_bytes", "longest_context", "largest_batch", "command"),
)  # fmt: skip


def sheet(choices: Choices) -> Sheet:
    """One row for each model; for one model, a row for each format."""
    shown = choices.choices
    rows = [row for choice in shown for row in _rows(choice, choices, every=len(shown) == 1)]
    parts: list[Part] = [Line("", lead=_about(choices)), Table("", _COLUMNS, tuple(rows))]
    best = shown[0].best if len(shown) == 1 else None
    if best is not None:
        parts.append(Line(best.run or best.command, lead=f"the widest that fits, {best.dtype}:"))
    return Sheet("", "", tuple(parts), (*_left_out(choices), *choices.notes), KEYS)


def _about(choices: Choices) -> str:
    request, workload = choices.request, choices.request.workload
    version = "" if choices.version is None else f", {request.engine_words} {choices.version}"
    # llama.cpp's own is f16, which bf16 stands for here.
    own = request.record.placed is not None and workload.cache.kv_name == "bf16"
    cache = "" if own else f" in {workload.cache.kv_name}"
    longest, devices = choices.context_tokens, workload.layout.devices
    varied = any(choice.context_tokens != longest for choice in choices.choices)
    tokens = ("up to " if varied else "") + format_tokens(longest)
    return (
        f"{tokens} tokens x {workload.batch_size}{cache} on {devices} x {choices.device.name}{version}"
        f"{choices.why}"
    )


def _rows(choice: Choice, choices: Choices, every: bool) -> Iterator[Row]:
    best = choice.best
    if every:
        yield from (_row(choice, way, choices) for way in choice.ways)
    elif best is not None:
        yield _row(choice, best, choices)
    elif choice.ways:
        # The narrowest says by how much it does not.
        yield _row(choice, choice.ways[-1], choices)


def _row(choice: Choice, way: Way, choices: Choices) -> Row:
    num_bytes = way.weights_bytes
    cells: tuple[Cell, ...] = (
        choice.model,
        way.dtype,
        f"over {format_bytes(choices.device.bytes)}" if num_bytes is None else Bytes(num_bytes),
        _far(way.longest_context, choice.model_context) if way.holds else None,
        _number(way.largest_batch) if way.holds else None,
        way.verdict,
        Count(choice.parameters),
        None if num_bytes is None else Bytes(num_bytes),
        None if way.free_bytes is None else Bytes(way.free_bytes),
        Count(way.longest_context) if way.longest_context else None,
        Count(way.largest_batch) if way.largest_batch else None,
        way.command,
    )
    return Row(cells)


def _far(tokens: int | None, own: int | None) -> str:
    """``16,384``; behind it what the model was made for, where that is less."""
    if tokens is None or own is None or tokens <= own:
        return _number(tokens)
    return f"{tokens:,} (made for {own:,})"


def _number(number: int | None) -> str:
    return "any" if number is None else f"{number:,}"


def _left_out(choices: Choices) -> Iterator[str]:
    """What the engine does not run, by the reason."""
    reasons: dict[str, list[str]] = {}
    for choice in choices.choices:
        if choice.reason:
            reasons.setdefault(choice.reason, []).append(choice.model)
    if not reasons:
        return
    if len(choices.choices) <= len(reasons):
        yield from (f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        return
    names = [name for some in reasons.values() for name in some]
    yield f"not run by {choices.request.engine_words}: {', '.join(names)} ('kvcalc fit NAME' says why)"
