"""The layer stack: runs of blocks laid out as single layers, with who owns which weights and cache.

Weights and caches are separate questions. A looped run (ALBERT, Ouro), a shared block (Zamba2) and
a recursion (MoR) use the same weights again, and each use still has a cache of its own, unless
something says otherwise: ``shared_kv`` on an attention layer (CLA, YOCO, Gemma 3n and 4, Hunyuan)
or ``kv_cache: shared`` in a recursion.

A mixture of recursions (kvcalc/stack/recursion.py) is laid over the whole stack.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from kvcalc.frozen import frozen, remembered, remembers
from kvcalc.spec.model import Block, LayerGroup, ModelSpec

if TYPE_CHECKING:
    from kvcalc.stack.recursion import Recursion

MAX_LAYERS = 4096


@frozen
class Layer:
    """One pass through one layer.

    index: its place in the order of execution. block: the name of its kind.
    weights: the index of the first layer that uses the same weights (its own, usually).
    recursion: which recursion this is; None outside a recursion.
    """

    index: int
    block: str
    weights: int
    recursion: int | None = None


def num_layers(groups: tuple[LayerGroup, ...]) -> int:
    """Layers in order of execution, without laying them out."""
    return sum(group.repeat * group.loops * len(group.names) for group in groups)


def lay_out(groups: tuple[LayerGroup, ...], blocks: dict[str, Block]) -> tuple[Layer, ...]:
    """The stack layer by layer, recursion aside."""
    return _lay_out(groups, frozenset(name for name in blocks if blocks[name].share_weights))


@lru_cache(maxsize=256)
def _lay_out(groups: tuple[LayerGroup, ...], sharing: frozenset[str]) -> tuple[Layer, ...]:
    """Remembered: many models have the same stack. sharing: blocks whose layers share weights."""
    layers: list[Layer] = []
    shared: dict[str, int] = {}
    for group in groups:
        names = group.names * group.repeat
        start = len(layers)
        for loop in range(group.loops):
            for offset, name in enumerate(names):
                index = len(layers)
                weights = start + offset if loop else index
                if name in sharing:
                    weights = shared.setdefault(name, weights)
                layers.append(Layer(index, name, weights))
    return tuple(layers)


@remembers(256)
def owners(layers: tuple[Layer, ...]) -> dict[str, tuple[int, ...]]:
    """The layers that own the weights of each block, in the order of the stack."""
    return _by_block(layer for layer in layers if layer.weights == layer.index)


@remembers(256)
def uses(layers: tuple[Layer, ...]) -> dict[str, tuple[int, ...]]:
    """The layers that are made from each block, in the order of the stack."""
    return _by_block(layers)


def _by_block(layers: Iterable[Layer]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for layer in layers:
        found.setdefault(layer.block, []).append(layer.index)
    return {block: tuple(indices) for block, indices in found.items()}


@remembered
def decoder_layers(spec: ModelSpec) -> tuple[Layer, ...]:
    """The decoder's (or only) stack. Raises ValueError when a recursion does not divide it."""
    layers = lay_out(spec.layers, spec.blocks)
    return layers if spec.recursion is None else tuple(_recurse(layers, spec.recursion))


@remembered
def encoder_layers(spec: ModelSpec) -> tuple[Layer, ...]:
    """The encoder's stack; empty where there is none."""
    return lay_out(spec.encoder.layers, spec.blocks) if spec.encoder else ()


def _recurse(layers: tuple[Layer, ...], recursion: "Recursion") -> Iterator[Layer]:
    for layer, (weights, turn) in zip(layers, recursion.places(len(layers)), strict=True):
        if layers[weights].block != layer.block:
            raise ValueError(
                f"layer {layer.index} ('{layer.block}') would share the weights of "
                f"layer {weights} ('{layers[weights].block}')"
            )
        yield Layer(layer.index, layer.block, weights, turn)


def kv_source(layers: tuple[Layer, ...], reader: Layer, block: str) -> Layer | None:
    """The latest layer before ``reader`` that was made from ``block``: whose K and V it reads."""
    for layer in reversed(layers[: reader.index]):
        if layer.block == block:
            return layer
    return None
