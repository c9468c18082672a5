"""``kvcalc fit`` of several models, or of one in every format: which fit, in what, how far."""

from collections.abc import Iterator
from typing import Any

from kvcalc.deployment.choice import Choice, Choices, Way
from kvcalc.media.words import tokens_in_words
from kvcalc.report.answers.fit import by_engine
from kvcalc.report.cells import Bytes, Cell, Count
from kvcalc.report.objects import fit as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Line, Part, Sheet, Table, rows_of
from kvcalc.units import format_bytes

KEYS = (
    "model", "parameters", "dtype", "verdict", "weights_bytes", "free_bytes", "longest_context",
    "largest_batch", "command",
)  # fmt: skip


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


def _columns(device_bytes: int) -> tuple[Column, ...]:
    """Of (choice, way). device_bytes: what a device has, for weights that are more than that."""
    over = f"over {format_bytes(device_bytes)}"

    def weights(size: int | None) -> Cell:
        return over if size is None else Bytes(size)

    return (
        Column("model", "model", of=lambda row: row[0].model),
        Column("weights in", "dtype", of=lambda row: row[1].dtype),
        Column("weights", of=lambda row: weights(row[1].weights_bytes)),
        Column("longest context", of=lambda row: _far(*row), right=True),
        Column("largest batch", right=True,
               of=lambda row: _number(row[1].largest_batch) if row[1].holds else None),
        Column("", "verdict", of=lambda row: row[1].verdict),
        Column(None, "parameters", Count, lambda row: row[0].parameters),
        Column(None, "weights_bytes", Bytes, lambda row: row[1].weights_bytes),
        Column(None, "free_bytes", Bytes, lambda row: row[1].free_bytes),
        Column(None, "longest_context", Count, lambda row: row[1].longest_context or None),
        Column(None, "largest_batch", Count, lambda row: row[1].largest_batch or None),
        Column(None, "command", of=lambda row: row[1].command),
    )  # fmt: skip


def sheet(choices: Choices) -> Sheet:
    """One row for each model; for one model, a row for each format."""
    shown = choices.choices
    rows = [row for choice in shown for row in _rows(choice, every=len(shown) == 1)]
    columns = _columns(choices.device.bytes)
    parts: list[Part] = [Line("", lead=_about(choices)), Table("", columns, rows_of(columns, rows))]
    best = shown[0].best if len(shown) == 1 else None
    if best is not None:
        parts.append(Line(best.run or best.command, lead=f"the widest that fits, {best.dtype}:"))
    return Sheet("", "", tuple(parts), (*_left_out(choices), *choices.notes), KEYS)


def _about(choices: Choices) -> str:
    request, workload = choices.request, choices.request.workload
    # llama.cpp's own is f16, which bf16 stands for here.
    own = request.record.placed is not None and workload.cache.kv_name == "bf16"
    cache = "" if own else f" in {workload.cache.kv_name}"
    longest, devices = choices.context_tokens, workload.layout.devices
    varied = any(choice.context_tokens != longest for choice in choices.choices)
    tokens = tokens_in_words(longest, () if varied else workload.media)
    tokens = f"up to {tokens}" if varied else tokens
    return (
        f"{tokens} x {workload.batch_size}{cache} on {devices} x {choices.device.name}"
        f"{by_engine(choices)}{choices.why}"
    )


def _rows(choice: Choice, every: bool) -> list[tuple[Choice, Way]]:
    if every:
        return [(choice, way) for way in choice.ways]
    # Where none fits, the narrowest says by how much it does not.
    return [(choice, way) for way in ((choice.best,) if choice.best else choice.ways[-1:])]


def _far(choice: Choice, way: Way) -> str | None:
    """``16,384``; behind it what the model was made for, where that is less."""
    tokens, own = way.longest_context, choice.model_context
    if not way.holds:
        return None
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
