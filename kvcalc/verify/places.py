"""Cached tensors by the place they have in a model, as the calculator lists them and torch keeps them."""

from collections.abc import Iterator

import torch

from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.proofs import Tensor
from kvcalc.spec.model import ModelSpec
from kvcalc.stack.recursion import Case
from kvcalc.tensors import CacheTensor
from kvcalc.verify.model import Place

NAME_OF = {
    torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64",
    torch.int64: "int64",
}  # fmt: skip
# One cached tensor of one layer.
Key = tuple[Place, str]


def inventory(spec: ModelSpec, case: Case = "worst") -> Iterator[tuple[CacheGroup, CacheTensor]]:
    """Every cached tensor with the layers that keep one."""
    for group in groups_of(spec, case):
        for tensor in group.tensors:
            yield group, tensor


def place_of(group: CacheGroup, layer: int) -> Place:
    """Where one layer of a group keeps its cache."""
    return (group.stack, layer, group.slot)


def label(place: Place, name: str) -> str:
    """``layers.3.attention.key``: a cached tensor as a message names it."""
    stack, layer, slot = place
    return f"{'encoder.' if stack == 'encoder' else ''}layers.{layer}.{slot}.{name}"


def as_tensor(tensor: torch.Tensor) -> Tensor:
    """Shape, dtype and the bytes of the storage, which a view would not show."""
    num_bytes = tensor.untyped_storage().nbytes()
    return Tensor(tuple(tensor.shape), NAME_OF[tensor.dtype], num_bytes)
