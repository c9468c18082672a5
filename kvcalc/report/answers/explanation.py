"""``kvcalc explain``: per kind of layer, the equation, the numbers, the bytes and the source."""

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


def group_object(
    spec: ModelSpec, group: CacheGroup, workload: Workload, length: int
) -> dict[str, Any]:
    """Layers of one mechanism at a length, with each tensor of one layer and one sequence."""
    mechanism = getattr(spec.blocks[group.blocks[0]], group.slot)
    told = mechanism.explain() if hasattr(mechanism, "explain") else None
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
    equations = (("position", told.per_position), ("fixed", told.fixed))
    values = {what: evaluate(told.substituted(each)) for what, each in equations if each}
    return filled(objects.Told, told, elements=values)


def render(spec: ModelSpec, workload: Workload, notes: tuple[str, ...]) -> str:
    """Plain text; every line of arithmetic can be checked by hand."""
    lines = [f"{spec.name}: what one sequence of {workload.context_tokens} tokens keeps", ""]
    total_words = []
    groups = groups_of(spec)
    length = cache_function(spec, workload.cache).peak(
        workload.context_tokens, workload.encoder_tokens
    )
    if length != workload.context_tokens:
        lines += [f"The most is held at {length} tokens, before a block is compressed.", ""]
    for group in merged(groups):
        num_bytes = _group(lines, spec, group, workload, length)
        total_words.append(num_bytes)
    lines += _without_cache(spec, groups)
    total = sum(total_words)
    words = " + ".join(f"{value:,}" for value in total_words)
    if len(total_words) > 1:
        lines += ["Together", f"  {words}", f"  = {total:,} bytes ({format_bytes(total)})", ""]
    elif not total_words:
        lines += ["This model keeps nothing between steps: 0 bytes.", ""]
    lines += tower_lines(spec)
    claims = wrong_claims(spec, workload)
    if claims:
        lines.append("Popular claims that are wrong for this model")
        for claim in claims:
            lines += _wrapped(claim, "  - ")
        lines.append("")
    for note in notes:
        lines += _wrapped(note, "- ")
    for source in spec.source:
        lines.append(f"dimensions: {source}")
    return "\n".join(lines).rstrip() + "\n"


def _group(
    lines: list[str], spec: ModelSpec, group: CacheGroup, workload: Workload, length: int
) -> int:
    mechanism = getattr(spec.blocks[group.blocks[0]], group.slot)
    layers = group.layers
    count = f"{len(layers)} layer{'s' if len(layers) != 1 else ''}"
    lines.append(f"{group.block}: {group.mechanism}, {count} ({describe_layers(layers)})")
    if hasattr(mechanism, "explain"):
        _equation(lines, mechanism.explain(), _routed(spec, group, length))
    each = 0
    for tensor in group.tensors:
        positions = tensor.extent.positions(length, workload.encoder_tokens)
        num_bytes = positions * tensor_bytes(tensor, workload.cache)
        lines.append(f"  {_tensor_line(tensor, workload, positions)} = {num_bytes:,} bytes")
        each += num_bytes
    total = each * len(layers)
    lines.append(
        f"  {each:,} bytes a layer * {len(layers)} = {total:,} bytes ({format_bytes(total)})"
    )
    lines.append("")
    return total


def _routed(spec: ModelSpec, group: CacheGroup, tokens: int) -> str:
    """Which tokens a recursion's layers keep, and what decides that; empty for all of them."""
    extent = group.tensors[0].extent
    recursion = spec.recursion
    if recursion is None or not isinstance(extent, Share):
        return ""
    layers = decoder_layers(spec)
    turns = sorted({layers[index].recursion or 0 for index in group.layers})
    num, share = recursion.num_recursions, extent.fraction
    origin = (
        "recursion.capacities of the spec"
        if recursion.capacities
        else f"(N_r - r) / N_r with N_r = {num} and r = {turns[0]}, as recursion.capacities is not "
        f"stated"
    )
    names = " and ".join(str(turn + 1) for turn in turns)
    return (
        f"{share} of the tokens, max(1, floor({share} * {tokens})) = "
        f"{extent.positions(tokens, 0)}: those that the router of recursion {names} of {num} "
        f"lets through (expert choice: {origin})"
    )


def _equation(lines: list[str], explanation: Explanation, routed: str = "") -> None:
    lines.append(f"  {explanation.title}")
    for what, equation in (("a position", explanation.per_position), ("fixed", explanation.fixed)):
        if equation:
            substituted = explanation.substituted(equation)
            value = evaluate(substituted)
            lines.append(f"    elements, {what}: {equation}")
            lines.append(f"      = {substituted} = {value:,}")
    for symbol in explanation.symbols:
        lines.append(
            f"      {symbol.letter:<5} {symbol.field} = {symbol.value}  ({symbol.meaning})"
        )
    if routed or explanation.positions:
        lines += _wrapped(routed or explanation.positions, "    positions: ")
    lines += _wrapped(explanation.stored, "    stored: ")
    lines += _wrapped(explanation.not_stored, "    not stored: ")
    lines += _wrapped(explanation.source, "    source: ")
    for note in explanation.notes:
        lines += _wrapped(note, "    note: ")


def _tensor_line(tensor: CacheTensor, workload: Workload, positions: int) -> str:
    chosen = workload.cache.format(tensor.role, tensor.dtype)
    elements = prod(tensor.shape)
    shape = " * ".join(map(str, tensor.shape))
    factors = [f"{positions} positions"] if tensor.full_shape(1, 1) != (1, *tensor.shape) else []
    factors.append(shape)
    if chosen.block_elements == 1 and not chosen.row_bytes:
        factors.append(f"{chosen.block_bytes} bytes ({chosen.name})")
    else:
        per_position = tensor.position_bytes(workload.cache)
        factors[-1] = (
            f"{per_position} bytes ({elements} elements as {chosen.name}, scales included)"
        )
    return f"{tensor.name}: {' * '.join(factors)}"


def _without_cache(spec: ModelSpec, groups: tuple[CacheGroup, ...]) -> list[str]:
    """Kinds of layer that keep nothing, and why."""
    keeping = {(group.block, group.slot) for group in groups}
    lines: list[str] = []
    for name, block in spec.blocks.items():
        attention = block.attention
        if attention is None or (name, "attention") in keeping:
            continue
        lines.append(f"{name}: {attention.kind}")
        lines += [*_wrapped(attention.explain().stored, "  stored: "), ""]
    if spec.recursion is not None and spec.recursion.kv_cache == "shared":
        num = spec.recursion.num_recursions
        lines.append(f"recursions after the first of {num}")
        lines += [*_wrapped("nothing: they read the first's keys and values", "  stored: "), ""]
    return lines


def evaluate(equation: str) -> int:
    """The value of whole numbers with + - * // and brackets. Raises ValueError for anything else."""
    import ast

    def value(node: ast.AST) -> int:
        match node:
            case ast.Expression(body):
                return value(body)
            case ast.Constant(int() as number):
                return number
            case ast.BinOp(left, ast.Add(), right):
                return value(left) + value(right)
            case ast.BinOp(left, ast.Sub(), right):
                return value(left) - value(right)
            case ast.BinOp(left, ast.Mult(), right):
                return value(left) * value(right)
            case ast.BinOp(left, ast.FloorDiv(), right):
                return value(left) // value(right)
            case _:
                raise ValueError(f"not an equation of whole numbers: {equation}")

    return value(ast.parse(equation, mode="eval"))


def _wrapped(text: str, first: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first),
                break_long_words=False, break_on_hyphens=False)  # fmt: skip
