"""A model as llama.cpp holds it: the tensors of its GGUF file and the facts its rules look at."""

import re
from functools import lru_cache
from math import prod

from kvcalc.frozen import frozen
from kvcalc.tensors import Component

_LAYER = re.compile(r"blk\.(\d+)\.")


@lru_cache(1 << 14)
def stem_of(name: str) -> str:
    """A tensor's name without ``blk.N.``."""
    return name.split(".", 2)[2] if name.startswith("blk.") else name


@lru_cache(1 << 14)
def _place_of(name: str) -> tuple[int, str]:
    match = _LAYER.match(name)
    return int(match[1]) if match else -1, name


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

    @property
    def num_dimensions(self) -> int:
        """Axes as ggml counts them: outer ones of length 1 are none (ggml_n_dims)."""
        count = len(self.shape)
        while count > 1 and self.shape[len(self.shape) - count] == 1:
            count -= 1
        return count

    @property
    def stem(self) -> str:
        """The name without ``blk.N.``: tensors of one stem are alike in every layer."""
        return stem_of(self.name)

    @property
    def place(self) -> tuple[int, str]:
        """Where llama.cpp's loader sorts it: by layer, then by name (weight_name_comparer)."""
        return _place_of(self.name)


@frozen
class GgufModel:
    """What llama.cpp knows of a model when it quantises it.

    architecture: general.architecture. tensors: in the loader's order. num_layers: block_count.
    num_experts: expert_count, 0 without. query_groups: query heads per KV head of layer 0, 0 where
    that layer has no KV heads (n_gqa). is_70b: the loader calls it 70B.
    """

    architecture: str
    tensors: tuple[GgufTensor, ...]
    num_layers: int
    num_experts: int
    query_groups: int
    is_70b: bool
