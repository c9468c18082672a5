"""The formats of a model's weights, where there are several: what each takes and what it stores."""

from collections.abc import Iterator, Sequence
from math import prod

from kvcalc.dtypes import GGML, PLAIN
from kvcalc.file_types import recipe
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.ledger import Row as LedgerRow
from kvcalc.memory.ledger import TypeTotal
from kvcalc.memory.weights import ledger
from kvcalc.mlx_types import mlx_recipe
from kvcalc.report.cells import Bar, Bytes, Cell, Count, Share
from kvcalc.report.sheet import Column, Row, Table
from kvcalc.spec.stored_formats import stored_format
from kvcalc.spec.tensor_formats import layers_text, rule_name


def types_tables(estimate: Estimate) -> Iterator[Table]:
    """What a GGUF or MLX type or a quantised checkpoint mixes; nothing where the format is one."""
    if recipe(estimate.workload.dtype) or mlx_recipe(estimate.workload.dtype):
        yield _of_recipe(estimate)
    elif estimate.workload.dtype == "checkpoint" and estimate.stored is None:
        narrow = [each for each in estimate.weight_types if each.type not in PLAIN]
        if narrow and len(estimate.weight_types) > 1:
            yield _of_checkpoint(estimate)


def _of_checkpoint(estimate: Estimate) -> Table:
    """Which tensors are in which format."""
    rows_of: dict[str, list[LedgerRow]] = {}
    every = ledger(estimate.spec, "checkpoint").rows
    for row in every:
        rows_of.setdefault(row.dtype, []).append(row)
    rows = [
        _row(each, estimate, _bits_of(rows_of[each.type]), ", ".join(_stored(rows_of[each.type], every)))
        for each in estimate.weight_types
    ]  # fmt: skip
    return _types("what it stores", rows)


def _of_recipe(estimate: Estimate) -> Table:
    """The mixture of a GGUF or MLX type: tensors, bytes and bits per weight of each format."""
    total = estimate.weight_bytes
    rows = [
        _row(each, estimate, _bits(each.type), Bar(each.bytes, total))
        for each in estimate.weight_types
    ]
    tensors = sum(each.tensors for each in estimate.weight_types)
    counted = estimate.parameters.language_model + estimate.parameters.buffers
    bits = ratio_of(total * 8, counted)
    rows.append(Row(("together", Count(tensors), Bytes(total), bits, None, None), "strong", 1,
                    "weights type total"))  # fmt: skip
    return _types("", rows)


def _types(last: str, rows: Sequence[Row]) -> Table:
    columns = (Column("type", "dtype"), Column("tensors"), Column("bytes", "bytes"),
               Column("bits per weight"), Column("share"), Column(last))  # fmt: skip
    return Table("types", columns, tuple(rows))


def _row(each: TypeTotal, estimate: Estimate, bits: str, last: Cell) -> Row:
    share = Share(each.bytes, estimate.weight_bytes)
    cells = (each.type, Count(each.tensors), Bytes(each.bytes), bits, share, last)
    return Row(cells, depth=1, part="weights type")


def _bits_of(rows: Sequence[LedgerRow]) -> str:
    """Bits of an element with the scales."""
    elements = sum(prod(row.shape) * row.count for row in rows)
    return ratio_of(sum(row.bytes for row in rows) * 8, elements)


def _stored(own: Sequence[LedgerRow], every: Sequence[LedgerRow]) -> Iterator[str]:
    """Components whose matrices are all in one format by name; of others each tensor, and its layers
    where it is not in that format in all of them."""
    dtype = own[0].dtype
    matrices = [row for row in own if _matrix(row)]
    told: set[str] = set()
    for row in matrices:
        alike = [each for each in every if each.component == row.component and _matrix(each)]
        name = rule_name(row.name)
        if all(each.dtype == dtype for each in alike):
            name = str(row.component)
        elif any(each.name == row.name and each.dtype != dtype for each in alike):
            layers = {layer for each in matrices if each.name == row.name for layer in each.layers}
            name = f"{name} (layer{'s' * (len(layers) > 1)} {layers_text(layers)})"
        if name not in told:
            told.add(name)
            yield name
    if len(matrices) < len(own):
        yield "vectors"


def _matrix(row: LedgerRow) -> bool:
    return row.weight.tensor.quantised or row.component in ("embedding", "router", "head")


def _bits(kind: str) -> str:
    """Bits of an element, exactly: 4.5, 6.5625."""
    block = GGML.get(kind) or stored_format(kind)[0]
    whole, rest = divmod(block.block_bytes * 8 * 10_000, block.block_elements)
    text = f"{(whole + (2 * rest >= block.block_elements)) // 10_000}"
    after = f"{(whole + (2 * rest >= block.block_elements)) % 10_000:04}".rstrip("0")
    return f"{text}.{after}" if after else text


def ratio_of(above: int, below: int) -> str:
    """Two digits after the point, in integers."""
    hundredths = (200 * above + below) // (2 * below)
    return f"{hundredths // 100}.{hundredths % 100:02}"
