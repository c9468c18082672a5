"""The formats of a model's weights, where there are several: what each takes and what it stores."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from kvcalc.dtypes import GGML, PLAIN
from kvcalc.file_types import recipe
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.ledger import WeightType
from kvcalc.memory.mixture import by_format
from kvcalc.memory.weights import ledger
from kvcalc.mlx_types import mlx_recipe
from kvcalc.report.cells import Bar, Bytes, Cell, Count, Share, decimals
from kvcalc.report.sheet import Column, Row, Table
from kvcalc.spec.stored_formats import stored_format


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
    stored = by_format(ledger(estimate.spec, "checkpoint"))
    rows = [
        _row(each, estimate, decimals(stored[each.type].bits), ", ".join(stored[each.type].what))
        for each in estimate.weight_types
    ]
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
    bits = decimals(Fraction(total * 8, counted))
    rows.append(Row(("together", Count(tensors), Bytes(total), bits, None, None), "strong", 1,
                    "weights type total"))  # fmt: skip
    return _types("", rows)


def _types(last: str, rows: Sequence[Row]) -> Table:
    columns = (Column("type", "dtype"), Column("tensors"), Column("bytes", "bytes"),
               Column("bits per weight"), Column("share"), Column(last))  # fmt: skip
    return Table("types", columns, tuple(rows))


def _row(each: WeightType, estimate: Estimate, bits: str, last: Cell) -> Row:
    share = Share(each.bytes, estimate.weight_bytes)
    cells = (each.type, Count(each.tensors), Bytes(each.bytes), bits, share, last)
    return Row(cells, depth=1, part="weights type")


def _bits(kind: str) -> str:
    """Bits of an element, exactly: 4.5, 6.5625."""
    block = GGML.get(kind) or stored_format(kind)[0]
    bits = Fraction(block.block_bytes * 8, block.block_elements)
    return decimals(bits, 4).rstrip("0").removesuffix(".")
