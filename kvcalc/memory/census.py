"""A model's weights by what decides their bytes in one number format, whichever that is.

Where a format is given to matrices by their component alone, a weight's bytes follow from its
component, its shape and the matrices fused in it. So the weights that are alike in these are counted
once, for each number of ranks, and the formats are many sums over the few kinds.
"""

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import remembered
from kvcalc.memory.ledger import COMPONENTS, rank_shape
from kvcalc.memory.schemes import ByComponent
from kvcalc.memory.towers import whole_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component, ParamTensor

# A weight that stands for its kind, its shape on a rank, and how often the kind is in the model.
_Kind = tuple[ParamTensor, tuple[int, ...], int]


def uniform_bytes(spec: ModelSpec, scheme: ByComponent, ranks: int) -> dict[Component, int]:
    """Bytes on the fullest of ``ranks`` tensor ranks that hold every layer, by component.

    Raises UnsupportedError naming a tensor that the ranks do not divide or the format cannot hold.
    """
    found: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    for tensor, shape, count in _on_rank(spec, ranks):
        chosen = scheme.by_component.get(tensor.component) if tensor.quantised else None
        try:
            num_bytes = (chosen or scheme.default).tensor(shape, tensor.fused)
        except ValueError as error:
            raise UnsupportedError(f"{tensor.name} {list(shape)}: {error}") from None
        found[tensor.component] += count * num_bytes
    return found


def _on_rank(spec: ModelSpec, ranks: int) -> list[_Kind]:
    known = _by_ranks(spec)
    if ranks not in known:
        known[ranks] = [
            (tensor, rank_shape(tensor, ranks), count) for tensor, count in _alike(spec)
        ]
    return known[ranks]


@remembered
def _by_ranks(spec: ModelSpec) -> dict[int, list[_Kind]]:
    """What was asked for so far."""
    return {}


@remembered
def _alike(spec: ModelSpec) -> list[tuple[ParamTensor, int]]:
    """The first weight of each kind and how often the kind stands in the model, buffers not."""
    kinds: dict[tuple[object, ...], ParamTensor] = {}
    counts: dict[tuple[object, ...], int] = {}
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
                kinds.setdefault(kind, tensor)
                counts[kind] = counts.get(kind, 0) + group.count
    return [(tensor, counts[kind]) for kind, tensor in kinds.items()]
