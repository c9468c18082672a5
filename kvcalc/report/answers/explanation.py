"""``kvcalc explain``: per kind of layer, the equation, the numbers, the bytes and the source."""

from collections.abc import Iterator
from math import prod
from typing import Any

from kvcalc.explanation import Explanation
from kvcalc.memory.cache import cache_function, tensor_bytes
from kvcalc.memory.claims import wrong_claims
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.inventory import CacheGroup, groups_of, merged
from kvcalc.memory.workload import Asked, Workload
from kvcalc.report.answers.layers import describe_layers, layer_ranges
from kvcalc.report.answers.towers import tower_lines, tower_objects
from kvcalc.report.cells import Bytes, Count, Shape
from kvcalc.report.objects import explain as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Answer, Row, Sheet, Table, Verbatim, for_csv
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, Share
from kvcalc.units import format_bytes

_WIDTH = 78
KEYS = (
    "model", "block", "mechanism", "layers", "tensor", "shape", "dtype", "positions",
    "bytes_per_position", "bytes",
)  # fmt: skip


def explain(spec: ModelSpec, asked: Asked) -> str:
    """What ``kvcalc explain`` prints. Raises UsageError for impossible options."""
    workload, notes = choose_workload(spec, asked)
    return render(spec, workload, notes)


def answer(spec: ModelSpec, workload: Workload, notes: tuple[str, ...]) -> Answer:
    """The text for people; its tensors, symbols and equations for programs."""
    return Answer(lambda: [_sheet(spec, workload, notes)], lambda: to_object(spec, workload, notes))


def _sheet(spec: ModelSpec, workload: Workload, notes: tuple[str, ...]) -> Sheet:
    text = Verbatim(tuple(render(spec, workload, notes).splitlines()))
    found = to_object(spec, workload, ())
    rows = tuple(
        Row((
            spec.name, group["block"], group["mechanism"], Count(group["count"]), tensor["name"],
            Shape(tuple(tensor["shape"])), tensor["dtype"], Count(tensor["positions"]),
            Bytes(tensor["position_bytes"]), Bytes(tensor["bytes"]),
        ))
        for group in found["groups"]
        for tensor in group["tensors"]
    )  # fmt: skip
    return Sheet("", "", (text, Table("", for_csv(*KEYS), rows)), keys=KEYS)


def to_object(spec: ModelSpec, workload: Workload, notes: tuple[str, ...]) -> dict[str, Any]:
    """Every equation with its symbols and value; bytes of a tensor are one layer's, one sequence's."""
    length = cache_function(spec, workload.cache).peak(
        workload.context_tokens, workload.encoder_tokens
    )
    groups = [group_object(spec, group, workload, length) for group in merged(groups_of(spec))]
    return {
        "model": {"name": spec.name, "source": list(spec.source)},
        "context_tokens": workload.context_tokens,
        "encoder_tokens": workload.encoder_tokens,
        # Where the most is held, at or below the context.
        "peak_tokens": length,
        "groups": groups,
        "bytes": sum(group["bytes"] for group in groups),
        **({"towers": tower_objects(spec)} if spec.towers else {}),
        "wrong_claims": list(wrong_claims(spec, workload)),
        "assumptions": list(notes),
    }


def explained(spec: ModelSpec, group: CacheGroup) -> Explanation | None:
    """What the mechanism of some layers says of itself; None where it says nothing."""
    mechanism = getattr(spec.blocks[group.blocks[0]], group.slot)
    told: Explanation | None = mechanism.explain() if hasattr(mechanism, "explain") else None
    return told


def group_object(
    spec: ModelSpec, group: CacheGroup, workload: Workload, length: int
) -> dict[str, Any]:
    """Layers of one mechanism at a length, with each tensor of one layer and one sequence."""
    told = explained(spec, group)
    tensors: list[dict[str, Any]] = []
    for tensor in group.tensors:
        positions = tensor.extent.positions(length, workload.encoder_tokens)
        each = tensor_bytes(tensor, workload.cache)
        tensors.append(filled(
            objects.Tensor, tensor, extent=str(tensor.extent), positions=positions,
            dtype=workload.cache.format(tensor.role, tensor.dtype).name,
            position_bytes=each, bytes=positions * each,
        ))  # fmt: skip
    layers = group.layers
    return filled(
        objects.Group, group, layer_ranges=layer_ranges(layers), count=len(layers),
        explanation=None if told is None else _told(told), tensors=tensors,
        bytes=len(layers) * sum(tensor["bytes"] for tensor in tensors),
    )  # fmt: skip


def _told(told: Explanation) -> dict[str, Any]:
    values = {counted: value for counted, _, _, value in told.equations()}
    return filled(objects.Told, told, elements=values)


def render(spec: ModelSpec, workload: Workload, notes: tuple[str, ...]) -> str:
    """Plain text; every line of arithmetic can be checked by hand."""
    return "\n".join(_lines(spec, workload, to_object(spec, workload, notes))).rstrip() + "\n"


def _lines(spec: ModelSpec, workload: Workload, found: dict[str, Any]) -> Iterator[str]:
    context, length = found["context_tokens"], found["peak_tokens"]
    yield from (f"{spec.name}: what one sequence of {context} tokens keeps", "")
    if length != context:
        yield from (f"The most is held at {length} tokens, before a block is compressed.", "")
    groups = groups_of(spec)
    for group, told in zip(merged(groups), found["groups"], strict=True):
        yield from _group(spec, group, workload, length, told)
    yield from _without_cache(spec, groups)
    words = [f"{told['bytes']:,}" for told in found["groups"]]
    if len(words) > 1:
        total = found["bytes"]
        yield from ("Together", f"  {' + '.join(words)}")
        yield from (f"  = {total:,} bytes ({format_bytes(total)})", "")
    elif not words:
        yield from ("This model keeps nothing between steps: 0 bytes.", "")
    yield from tower_lines(spec)
    if found["wrong_claims"]:
        yield "Popular claims that are wrong for this model"
        for claim in found["wrong_claims"]:
            yield from _wrapped(claim, "  - ")
        yield ""
    for note in found["assumptions"]:
        yield from _wrapped(note, "- ")
    yield from (f"dimensions: {source}" for source in spec.source)


def _group(
    spec: ModelSpec, group: CacheGroup, workload: Workload, length: int, told: dict[str, Any]
) -> Iterator[str]:
    """told: what ``group_object`` found of it."""
    num_layers = told["count"]
    count = f"{num_layers} layer{'s' if num_layers != 1 else ''}"
    yield f"{group.block}: {group.mechanism}, {count} ({describe_layers(group.layers)})"
    explanation = explained(spec, group)
    if explanation is not None:
        yield from _equation(explanation, _routed(spec, group, length))
    for tensor, kept in zip(group.tensors, told["tensors"], strict=True):
        factors = _factors(tensor, workload, kept["positions"])
        yield f"  {tensor.name}: {factors} = {kept['bytes']:,} bytes"
    each, total = sum(kept["bytes"] for kept in told["tensors"]), told["bytes"]
    yield f"  {each:,} bytes a layer * {num_layers} = {total:,} bytes ({format_bytes(total)})"
    yield ""


def _routed(spec: ModelSpec, group: CacheGroup, tokens: int) -> str:
    """Which tokens a recursion's layers keep, and what decides that; empty for all of them."""
    extent = group.tensors[0].extent
    recursion = spec.recursion
    if recursion is None or not isinstance(extent, Share):
        return ""
    layers = decoder_layers(spec)
    turns = sorted({layers[index].recursion or 0 for index in group.layers})
    return recursion.routed(turns, extent.fraction, tokens, extent.positions(tokens, 0))


def _equation(told: Explanation, routed: str) -> Iterator[str]:
    yield f"  {told.title}"
    for counted, equation, values, result in told.equations():
        yield f"    elements, {'a position' if counted == 'position' else counted}: {equation}"
        yield f"      = {values} = {result:,}"
    for symbol in told.symbols:
        yield f"      {symbol.letter:<5} {symbol.field} = {symbol.value}  ({symbol.meaning})"
    said = [("positions", routed or told.positions)] if routed or told.positions else []
    said += [("stored", told.stored), ("not stored", told.not_stored), ("source", told.source)]
    said += [("note", note) for note in told.notes]
    for word, sentence in said:
        yield from _wrapped(sentence, f"    {word}: ")


def _factors(tensor: CacheTensor, workload: Workload, positions: int) -> str:
    """``8192 positions * 8 * 128 * 2 bytes (bf16)``."""
    chosen = workload.cache.format(tensor.role, tensor.dtype)
    factors = [f"{positions} positions"] if tensor.full_shape(1, 1) != (1, *tensor.shape) else []
    if chosen.block_elements == 1 and not chosen.row_bytes:
        shape = " * ".join(map(str, tensor.shape))
        factors += [shape, f"{chosen.block_bytes} bytes ({chosen.name})"]
    else:
        as_stored = f"{prod(tensor.shape)} elements as {chosen.name}, scales included"
        factors.append(f"{tensor.position_bytes(workload.cache)} bytes ({as_stored})")
    return " * ".join(factors)


def keeping_nothing(spec: ModelSpec, groups: tuple[CacheGroup, ...]) -> Iterator[tuple[str, str]]:
    """Kinds of attention that keep nothing, by block, and why."""
    keeping = {(name, group.slot) for group in groups for name in group.blocks}
    for name, block in spec.blocks.items():
        if block.attention is not None and (name, "attention") not in keeping:
            yield f"{name}: {block.attention.kind}", block.attention.explain().stored


def _without_cache(spec: ModelSpec, groups: tuple[CacheGroup, ...]) -> Iterator[str]:
    found = list(keeping_nothing(spec, groups))
    if spec.recursion is not None and spec.recursion.kv_cache == "shared":
        later = f"recursions after the first of {spec.recursion.num_recursions}"
        found.append((later, "nothing: they read the first's keys and values"))
    for what, stored in found:
        yield from (what, *_wrapped(stored, "  stored: "), "")


def _wrapped(text: str, first: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first),
                break_long_words=False, break_on_hyphens=False)  # fmt: skip
