"""A model as llama.cpp holds it: the tensors of its GGUF file and the facts its rules look at."""

import re
from functools import cached_property, lru_cache
from math import prod

from kvcalc.frozen import frozen
from kvcalc.tensors import Component

# A layer, -1 for what has none, and the name within it.
Place = tuple[int, str]

_LAYER = re.compile(r"blk\.(\d+)\.")


@lru_cache(1 << 14)
def stem_of(name: str) -> str:
    """A tensor's name without ``blk.N.``."""
    return name.split(".", 2)[2] if name.startswith("blk.") else name


@frozen
class GgufTensor:
    """One tensor of a GGUF file before it is quantised.

    shape: outermost axis first. source: the ggml type that the converter writes (a matrix the
    model's 16 bits, a vector f32). component: whose bytes these are.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    component: Component

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def row(self) -> int:
        """Elements of a row (ggml's ne[0])."""
        return self.shape[-1]


@frozen
class TensorKind:
    """Tensors of a file that differ in their layer alone.

    stem: the name without ``blk.N.``. layers: every N, ascending; none where that does not begin the
    name (a table; T5's layers, each a kind of its own). The rest is each tensor's.
    """

    stem: str
    shape: tuple[int, ...]
    source: str
    component: Component
    layers: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        return len(self.layers) or 1

    @property
    def num_dimensions(self) -> int:
        """Axes as ggml counts them: outer ones of length 1 are none (ggml_n_dims)."""
        count = len(self.shape)
        while count > 1 and self.shape[len(self.shape) - count] == 1:
            count -= 1
        return count

    @property
    def places(self) -> list[Place]:
        """Where llama.cpp's loader sorts its tensors: by layer, then by name (weight_name_comparer)."""
        return [(layer, self.stem) for layer in self.layers or (-1,)]

    @cached_property
    def first(self) -> GgufTensor:
        """The tensor that the loader meets first."""
        return self._tensor(self.layers[0] if self.layers else None)

    @cached_property
    def tensors(self) -> tuple[GgufTensor, ...]:
        """One for each layer."""
        return tuple([self._tensor(layer) for layer in self.layers or (None,)])

    def _tensor(self, layer: int | None) -> GgufTensor:
        name = self.stem if layer is None else f"blk.{layer}.{self.stem}"
        return GgufTensor(name, self.shape, self.source, self.component)


def kind_of(tensor: GgufTensor) -> TensorKind:
    """The kind of a tensor that is like no other."""
    match = _LAYER.match(tensor.name)
    layers = (int(match[1]),) if match else ()
    stem = tensor.name[match.end() :] if match else tensor.name
    return TensorKind(stem, tensor.shape, tensor.source, tensor.component, layers)


@frozen
class GgufModel:
    """What llama.cpp knows of a model when it quantises it.

    architecture: general.architecture. kinds: its tensors, by where the loader sorts the first of
    each. num_layers: block_count.
    num_experts: expert_count, 0 without. query_groups: query heads per KV head of layer 0, 0 where
    that layer has no KV heads (n_gqa). is_70b: the loader calls it 70B.
    """

    architecture: str
    kinds: tuple[TensorKind, ...]
    num_layers: int
    num_experts: int
    query_groups: int
    is_70b: bool

    @cached_property
    def order(self) -> tuple[tuple[int, int], ...]:
        """The loader's order of all tensors: the index of each one's kind, and which of it it is."""
        places = [
            (place, (index, number))
            for index, kind in enumerate(self.kinds)
            for number, place in enumerate(kind.places)
        ]
        return tuple([which for _, which in sorted(places)])

    @cached_property
    def tensors(self) -> tuple[GgufTensor, ...]:
        """In the loader's order."""
        kinds = [kind.tensors for kind in self.kinds]
        return tuple([kinds[index][number] for index, number in self.order])
