"""Which tensors a checkpoint stores in which of its formats, in the fewest words that say it."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import prod

from kvcalc.frozen import frozen
from kvcalc.memory.ledger import Ledger, Row
from kvcalc.spec.tensor_formats import layers_text, rule_name


@frozen
class Stored:
    """What is in one format. bits: of an element, with the scales. what: names of components, tensors."""

    bits: Fraction
    what: tuple[str, ...]


def by_format(ledger: Ledger) -> dict[str, Stored]:
    """Every format of the rows."""
    rows_of: dict[str, list[Row]] = {}
    for row in ledger.rows:
        rows_of.setdefault(row.dtype, []).append(row)
    return {
        dtype: Stored(_bits(rows), tuple(_names(rows, ledger.rows)))
        for dtype, rows in rows_of.items()
    }


def _bits(rows: Sequence[Row]) -> Fraction:
    elements = sum(prod(row.shape) * row.count for row in rows)
    return Fraction(sum(row.bytes for row in rows) * 8, elements)


def _names(own: Sequence[Row], every: Sequence[Row]) -> Iterator[str]:
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


def _matrix(row: Row) -> bool:
    return row.weight.tensor.quantised or row.component in ("embedding", "router", "head")
