"""What the tensors of towers are made from: norms, linear layers and convolutions by component."""

from collections.abc import Iterable, Iterator
from typing import Literal

from kvcalc.frozen import changed, frozen
from kvcalc.tensors import ParamTensor, linear

# The part of a model that a tower is; components of kvcalc.tensors.
TowerPart = Literal["vision", "audio", "projector"]
TowerNorm = Literal["rmsnorm", "layernorm", "layernorm_no_bias", "none"]
Side = Literal["q", "k", "v", "o"]


@frozen
class TowerGroup:
    """Tensors of a tower: ``prefix`` stands before each name, ``{}`` in it for the layer's index.

    layers: the indices of those that own them; empty for what the tower owns once.
    """

    prefix: str
    layers: tuple[int, ...]
    tensors: tuple[ParamTensor, ...]


def norm(name: str, kind: str, width: int, part: TowerPart) -> Iterator[ParamTensor]:
    """The weights of one norm: a layernorm has a bias, an rmsnorm has none."""
    if kind != "none":
        yield ParamTensor(f"{name}.weight", (width,), part)
    if kind == "layernorm":
        yield ParamTensor(f"{name}.bias", (width,), part)


def dense(
    name: str, out_features: int, in_features: int, part: TowerPart, bias: bool = False
) -> Iterator[ParamTensor]:
    """A linear layer: (out, in), and a bias (out,). Every rank holds it whole."""
    yield from linear(name, out_features, in_features, part, bias=bias)


def conv(
    name: str, shape: tuple[int, ...], part: TowerPart, bias: bool = False
) -> Iterator[ParamTensor]:
    """A convolution: (out, in / groups, taps...), and a bias (out,)."""
    yield ParamTensor(f"{name}.weight", shape, part)
    if bias:
        yield ParamTensor(f"{name}.bias", shape[:1], part)


def of_part(part: TowerPart, tensors: Iterable[ParamTensor]) -> Iterator[ParamTensor]:
    """A language model's tensors as a tower has them: of its component, and whole on every rank."""
    for tensor in tensors:
        yield changed(tensor, component=part, shard=None)
