"""The ledger of a model's weights: one row per tensor and format, made once and summed.

A row is a parameter tensor of some layers with the format that those layers store it in. What gives
formats is a ``Scheme``: one format for all (``--dtype fp8``), what a checkpoint states
(``--dtype checkpoint``), or the rule of a program that quantises (``--dtype q4_k_m``). Total, by
component, by type, per device and per stage are sums over the rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Protocol, get_args

from kvcalc.dtypes import Format
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.inventory import ParamGroup, Place
from kvcalc.memory.layout import Layout
from kvcalc.spec.layers import Layer
from kvcalc.spec.stored import WeightType as WeightType
from kvcalc.tensors import Component, ParamTensor

COMPONENTS: tuple[Component, ...] = get_args(Component)


@frozen
class Weight:
    """A parameter tensor where it stands, before it has a format.

    group: whose prefix, layers and place are the tensor's. A buffer is a weight only where its
    scheme stores it.
    """

    group: ParamGroup
    tensor: ParamTensor

    @property
    def name(self) -> str:
        """``layers.{}.attention.q_proj.weight``: the layer's index stands for ``{}``."""
        return self.group.prefix + self.tensor.name


@frozen
class Stored:
    """How some layers store a weight, or a part of it.

    format: bytes of the elements and of the scales that go with them.
    layers: those that store it so; None for all layers of the weight.
    shape: the part's shape where a file splits the tensor; None for the whole tensor. A part spans
        every axis but one.
    num_bytes: of one layer's tensor, where a file states bytes that no format explains; such a
        tensor cannot be divided among ranks.
    dtype: the file's word for the format; the format's own name when empty.
    tensors: how many tensors of the file one layer's part is.
    """

    format: Format
    layers: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    num_bytes: int | None = None
    dtype: str = ""
    tensors: int = 1


class Scheme(Protocol):
    """What gives every weight its format.

    ``store`` is asked about each weight once. It answers with one ``Stored`` for each group of
    layers and each part that is stored alike; together they cover every layer and element once.
    Nothing for a buffer means that the files do not hold it.
    """

    @property
    def name(self) -> str:
        """What ``--dtype`` calls it."""

    @property
    def extras(self) -> Sequence[ParamGroup]:
        """What its files hold beside the model's own weights."""

    def store(self, weight: Weight) -> Sequence[Stored]:
        """The formats of a weight. Raises UnsupportedError where one cannot be given."""


@frozen
class Row:
    """One weight (or part) of some layers in one format. layers: empty for what stands once."""

    weight: Weight
    stored: Stored
    layers: tuple[int, ...]
    bytes_each: int

    @property
    def name(self) -> str:
        return self.weight.name

    @property
    def component(self) -> Component:
        return self.weight.tensor.component

    @property
    def place(self) -> Place:
        return self.weight.group.place

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one layer's tensor, or of the part that the row is about."""
        return self.stored.shape or self.weight.tensor.shape

    @property
    def dtype(self) -> str:
        """The file's word for the format."""
        return self.stored.dtype or self.stored.format.name.partition("+")[0]

    @property
    def count(self) -> int:
        """How often the row's tensor stands in the model."""
        return len(self.layers) or 1

    @property
    def bytes(self) -> int:
        """Of all layers, scales included."""
        return self.bytes_each * self.count

    @property
    def scale_bytes(self) -> int:
        """What scales, zero points and indices take of ``bytes``."""
        if self.stored.num_bytes is not None:
            return 0
        return self.bytes - self.count * self.stored.format.element_bytes(prod(self.shape))

    def again(self, format: Format) -> "Row":
        """The same tensor in another format."""
        stored = changed(self.stored, format=format)
        return changed(
            self, stored=stored, bytes_each=_bytes(self.weight, stored, self.stored.shape)
        )

    def shape_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a share of one layer's tensor, given as a shape of the whole weight.

        Raises UnsupportedError where the format cannot store it.
        """
        whole = self.weight.tensor.shape
        if shape == whole:
            return self.bytes_each
        if self.stored.num_bytes is not None:
            raise UnsupportedError(
                f"{self.name} {list(whole)} takes {self.stored.num_bytes:,} bytes that no format "
                f"explains, so its share on a rank is not known: say --dtype for another"
            )
        part = _part(self.weight, self.stored, shape)
        return _bytes(self.weight, self.stored, self.stored.format.share(part))


# Rows of one component in blocks of one format, with nothing beside the blocks.
_InBlocks = tuple[Component, Format]


@frozen
class Ledger:
    """The rows of a model's weights in one scheme.

    tied: the row of the token table that is the head as well, which a last stage holds again.
    """

    scheme: str
    rows: tuple[Row, ...]
    tied: Row | None = None

    @cached_property
    def bytes(self) -> int:
        return sum(self._by_component.values())

    @property
    def by_component(self) -> dict[Component, int]:
        """A dictionary of the caller's own."""
        return dict(self._by_component)

    @cached_property
    def _by_component(self) -> dict[Component, int]:
        return _by_component(self.rows)

    def on_rank(self, ranks: int) -> dict[Component, int]:
        """Bytes on one of ``ranks`` tensor ranks that hold every layer, by component."""
        if ranks == 1:
            return self.by_component
        copied, divided, kinds = self._copied_and_divided
        found = dict(copied)
        elements = [0] * len(kinds)
        for row, kind in divided:
            shape = rank_shape(row.weight.tensor, ranks)
            if kind is not None and not shape[-1] % kinds[kind][1].block_elements:
                elements[kind] += prod(shape) * row.count
            else:
                found[row.component] += row.shape_bytes(shape) * row.count
        for number, (component, format) in zip(elements, kinds, strict=True):
            found[component] += format.element_bytes(number)
        return found

    @cached_property
    def _copied_and_divided(
        self,
    ) -> tuple[dict[Component, int], list[tuple[Row, int | None]], list[_InBlocks]]:
        """The bytes of what every rank holds whole; the rows that ranks divide, each with its place in
        the list of those whose bytes follow from their elements; and that list."""
        copied = [row for row in self.rows if row.weight.tensor.shard is None]
        divided: list[tuple[Row, int | None]] = []
        kinds: dict[_InBlocks, int] = {}
        for row in self.rows:
            stored = row.stored
            if row.weight.tensor.shard is None:
                continue
            whole = stored.shape is None and stored.num_bytes is None
            plain = whole and stored.format.only_blocks
            kind = kinds.setdefault((row.component, stored.format), len(kinds)) if plain else None
            divided.append((row, kind))
        return _by_component(copied), divided, list(kinds)

    @cached_property
    def types(self) -> tuple[WeightType, ...]:
        """The bytes by format, largest first."""
        return type_totals(self.rows)

    def stage_bytes(
        self, ranks: int, layers: tuple[Layer, ...], stages: Sequence[range]
    ) -> list[int]:
        """Bytes on one of ``ranks`` tensor ranks of each pipeline stage.

        The first stage holds the embedding and an encoder, the last the head; a tied table stands
        on both. Shared weights stand on every stage that uses them.
        """
        if len(stages) == 1:
            return [sum(self.on_rank(ranks).values())]
        if ranks not in self._shares:
            self._shares[ranks] = self._share(ranks)
        first, last, beside, of_layer = self._shares[ranks]
        totals = [0] * len(stages)
        totals[0] += first
        totals[-1] += last
        for stage, held in enumerate(stages):
            used = {layers[index].weights for index in held} | {*held}
            totals[stage] += sum(share for layer, share in beside.items() if layer in held)
            totals[stage] += sum([of_layer.get(layer, 0) for layer in used])
        return totals

    def _share(self, ranks: int) -> "_Shares":
        """What stands where on one of ``ranks`` tensor ranks, whatever the stages are."""
        first = last = 0
        beside: dict[int, int] = {}
        of_layer: dict[int, int] = {}
        for row in self.rows:
            tensor, group = row.weight.tensor, row.weight.group
            whole = ranks == 1 or tensor.shard is None
            share = row.bytes_each if whole else row.shape_bytes(rank_shape(tensor, ranks))
            layer = group.beside
            if group.place == "first":
                first += share * row.count
            elif group.place == "last":
                last += share * row.count
            elif layer is not None:
                beside[layer] = beside.get(layer, 0) + share
            else:
                for owner in row.layers:
                    of_layer[owner] = of_layer.get(owner, 0) + share
        if self.tied is not None:
            last += self.tied.shape_bytes(rank_shape(self.tied.weight.tensor, ranks))
        return first, last, beside, of_layer

    @cached_property
    def _shares(self) -> "dict[int, _Shares]":
        """What was asked for so far, by the number of ranks."""
        return {}


# Bytes of the first stage and of the last; of what stands beside a layer, and of each layer's own.
_Shares = tuple[int, int, dict[int, int], dict[int, int]]


def _by_component(rows: Iterable[Row]) -> dict[Component, int]:
    found: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    for row in rows:
        found[row.component] += row.bytes
    return found


def type_totals(rows: Iterable[Row]) -> tuple[WeightType, ...]:
    """The bytes of some rows by format, largest first."""
    found: dict[str, list[int]] = {}
    for row in rows:
        total = found.setdefault(row.dtype, [0, 0])
        total[0] += row.stored.tensors * row.count
        total[1] += row.bytes
    return merged_types(WeightType(name, *total) for name, total in found.items())


def merged_types(totals: Iterable[WeightType]) -> tuple[WeightType, ...]:
    """One total for each format, largest first."""
    found: dict[str, WeightType] = {}
    for each in totals:
        had = found.get(each.type, WeightType(each.type, 0, 0))
        found[each.type] = WeightType(each.type, had.tensors + each.tensors, had.bytes + each.bytes)
    return tuple(sorted(found.values(), key=lambda each: (-each.bytes, each.type)))


def make_rows(groups: Iterable[ParamGroup], scheme: Scheme) -> Iterator[Row]:
    """The rows of some groups of weights. Raises UnsupportedError naming a tensor without a format."""
    for group in groups:
        for tensor in group.tensors:
            weight = Weight(group, tensor)
            for stored in scheme.store(weight):
                layers = group.layers if stored.layers is None else stored.layers
                yield Row(weight, stored, layers, _bytes(weight, stored, stored.shape))


def rank_shape(tensor: ParamTensor, ranks: int) -> tuple[int, ...]:
    """A tensor's shape on the fullest of ``ranks``. Raises UnsupportedError naming the tensor."""
    if ranks == 1:
        return tensor.shape
    try:
        return tensor.per_rank(ranks)
    except ValueError as error:
        raise UnsupportedError(
            f"tensor parallelism over {ranks} ranks: {tensor.name} {list(tensor.shape)}: {error}"
        ) from None


def shape_on(tensor: ParamTensor, layout: Layout) -> tuple[int, ...]:
    """The same on the fullest rank of a layout: routed experts stand once among the ranks of all replicas,
    each whole with expert parallelism, else cut. Raises as ``rank_shape``."""
    if tensor.experts_per_token is None:
        return rank_shape(tensor, layout.tensor)
    ranks = layout.tensor * layout.data
    if layout.expert:
        return (-(-tensor.shape[0] // ranks), *tensor.shape[1:])
    return rank_shape(tensor, ranks)


def _part(weight: Weight, stored: Stored, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What a share of the whole tensor has of a part of it."""
    whole, part = weight.tensor.shape, stored.shape
    if part is None:
        return shape
    sizes = []
    for size, of_part, of_whole in zip(shape, part, whole, strict=True):
        share, rest = divmod(size * of_part, of_whole)
        if rest:
            raise UnsupportedError(
                f"{weight.name} {list(part)} cannot be divided into {list(shape)}"
            )
        sizes.append(share)
    return tuple(sizes)


def _bytes(weight: Weight, stored: Stored, shape: tuple[int, ...] | None) -> int:
    """Bytes of a tensor (or a share of it) in its format."""
    if stored.num_bytes is not None:
        return stored.num_bytes
    whole = shape is None
    shape = weight.tensor.shape if shape is None else shape
    fused = weight.tensor.fused if whole or stored.shape is None else 1
    try:
        return stored.format.tensor(shape, fused)
    except ValueError as error:
        raise UnsupportedError(f"{weight.tensor.name} {list(shape)}: {error}") from None
