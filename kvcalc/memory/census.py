"""A model's weights by what decides their bytes in one number format, whichever that is.

Where a format is given to matrices by their component alone, a weight's bytes follow from its
component, its shape and the matrices fused in it. So the weights that are alike in these are counted
once, for each number of ranks, and the formats are many sums over the few kinds.
"""

from math import gcd, prod
from typing import Any

from kvcalc.dtypes import Format
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen, remembered
from kvcalc.memory.ledger import COMPONENTS, rank_shape
from kvcalc.memory.schemes import QUANTISED, ByComponent
from kvcalc.memory.towers import whole_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component, ParamTensor

# A weight that stands for its kind, its shape on a rank, and how often the kind is in the model.
_Kind = tuple[ParamTensor, tuple[int, ...], int]


def uniform_bytes(spec: ModelSpec, scheme: ByComponent, ranks: int) -> dict[Component, int]:
    """Bytes on the fullest of ``ranks`` tensor ranks that hold every layer, by component.

    Raises UnsupportedError naming a tensor that the ranks do not divide or the format cannot hold.
    """
    kept, taken = _on_rank(spec, ranks)
    found = dict(kept.bytes(scheme.default))
    for component, blocks in taken.blocks.items():
        format = scheme.by_component.get(component, scheme.default)
        if not blocks.hold(format):
            return _each(kept, taken, scheme)
        found[component] += blocks.bytes(format)
    return found


def _each(kept: "_Kept", taken: "_Taken", scheme: ByComponent) -> dict[Component, int]:
    """``uniform_bytes`` kind by kind."""
    found = dict(kept.bytes(scheme.default))
    for kind in taken.kinds:
        component = kind[0].component
        found[component] += _bytes(kind, scheme.by_component.get(component, scheme.default))
    return found


@frozen
class _Blocks:
    """Matrices as a format sees them whose bytes follow from their elements, rows and columns.

    columns: of each, added up. in_row, in_column: what divides the elements of every row, and of
    every column of a matrix by itself.
    """

    elements: int
    rows: int
    columns: int
    in_row: int
    in_column: int

    def hold(self, format: Format) -> bool:
        """Whether it is such a format, and its blocks and words of zero points divide all of them."""
        return (
            format.by_blocks
            and not self.in_row % format.block_elements
            and not self.in_column * format.zero_bits % 32
        )

    def bytes(self, format: Format) -> int:
        zeros = self.elements // format.block_elements * format.zero_bits // 8
        beside = self.rows * format.row_bytes + self.columns * format.column_bytes + zeros
        return format.element_bytes(self.elements) + beside


def _blocks(kinds: list[_Kind]) -> _Blocks:
    elements = rows = columns = in_row = in_column = 0
    for tensor, (*outer, height, width), count in kinds:
        # Matrices that lie in one another's rows have zero points and columns of their own.
        fused = tensor.fused if height % tensor.fused == 0 else 1
        matrices = count * prod(outer)
        elements += matrices * height * width
        rows += matrices * height
        columns += matrices * fused * width
        in_row, in_column = gcd(in_row, width), gcd(in_column, height // fused)
    return _Blocks(elements, rows, columns, in_row, in_column)


class _Taken:
    """The kinds that quantisers take; blocks: all of a component's together."""

    def __init__(self, kinds: list[_Kind]) -> None:
        self.kinds = kinds
        of: dict[Component, list[_Kind]] = {}
        for kind in kinds:
            of.setdefault(kind[0].component, []).append(kind)
        self.blocks = {component: _blocks(held) for component, held in of.items()}


class _Kept:
    """The kinds that stay in the default format, whatever the others are given."""

    def __init__(self, kinds: list[_Kind]) -> None:
        self._kinds = kinds
        self._known: dict[str, dict[Component, int]] = {}

    def bytes(self, default: Format) -> dict[Component, int]:
        """Their bytes by component. Raises UnsupportedError as ``uniform_bytes``."""
        if default.name not in self._known:
            found: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
            for kind in self._kinds:
                found[kind[0].component] += _bytes(kind, default)
            self._known[default.name] = found
        return self._known[default.name]


def _bytes(kind: _Kind, format: Format) -> int:
    tensor, shape, count = kind
    held = shape if shape == tensor.shape else format.share(shape)
    try:
        return count * format.tensor(held, tensor.fused)
    except ValueError as error:
        raise UnsupportedError(f"{tensor.name} {list(shape)}: {error}") from None


def _on_rank(spec: ModelSpec, ranks: int) -> tuple[_Kept, _Taken]:
    """The kinds that quantisers leave alone, and those that they take. Raises as ``uniform_bytes``."""
    known = _by_ranks(spec)
    if ranks not in known:
        try:
            kinds = [(tensor, rank_shape(tensor, ranks), count) for tensor, count in _alike(spec)]
        except UnsupportedError as error:
            known[ranks] = error.message
        else:
            taken = _Taken([each for each in kinds if _is_taken(each[0])])
            known[ranks] = _Kept([each for each in kinds if not _is_taken(each[0])]), taken
    found = known[ranks]
    if isinstance(found, str):
        raise UnsupportedError(found)
    return found


def _is_taken(tensor: ParamTensor) -> bool:
    return tensor.quantised and tensor.component in QUANTISED


@remembered
def _by_ranks(spec: ModelSpec) -> dict[int, tuple[_Kept, _Taken] | str]:
    """What was asked for so far; in words why the ranks do not divide the weights."""
    return {}


@remembered
def _alike(spec: ModelSpec) -> list[tuple[ParamTensor, int]]:
    """The first weight of each kind and how often the kind stands in the model, buffers not."""
    kinds: dict[tuple[object, ...], list[Any]] = {}
    for group in whole_groups(spec):
        for tensor in group.tensors:
            if not tensor.buffer:
                kind = (
                    tensor.component,
                    tensor.quantised,
                    tensor.shape,
                    tensor.fused,
                    tensor.shard,
                )
                found = kinds.get(kind)
                if found is None:
                    kinds[kind] = [tensor, group.count]
                else:
                    found[1] += group.count
    return [(tensor, count) for tensor, count in kinds.values()]
