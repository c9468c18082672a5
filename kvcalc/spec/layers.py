"""The layer stack: runs of blocks laid out as single layers, with who owns which weights and cache.

Weights and caches are separate questions. A looped run (ALBERT, Ouro), a shared block (Zamba2) and
a recursion (MoR) use the same weights again, and each use still has a cache of its own, unless
something says otherwise: ``shared_kv`` on an attention layer (CLA, YOCO, Gemma 3n and 4, Hunyuan)
or ``kv_cache: shared`` in a recursion.

Mixture of recursions (Bae et al. 2025, arXiv 2507.10524). With L layers in total and N_r recursions:

    cycle            b = L / N_r         layer l uses weights l mod b      (1 2 3)(1 2 3)(1 2 3)
    sequence         b = L / N_r         layer l uses weights l // N_r     (1 1 1)(2 2 2)(3 3 3)
    middle_*         b = (L - 2) / N_r   the same between a first and a last layer of their own

Recursion r = 0 .. N_r - 1 keeps the tokens that reach it: capacity c_r = (N_r - r) / N_r of them
under expert choice (max(1, floor(c_r * S)) of S), those that chose a depth above r under token
choice. The reference code floors b and drops the layers that are left over; here that is an error.

Worked number: 32 layers of SmolLM-360M, N_r = 3, middle_cycle: b = 10, 12 layers of weights
(117,988,800 parameters), cache of 2 + 10 * (1 + 2/3 + 1/3) = 22 layers, or of 12 when shared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from kvcalc.spec.model import Block, LayerGroup, ModelSpec, Recursion

MAX_LAYERS = 4096

Case = Literal["least", "expected", "worst"]


@dataclass(frozen=True)
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


def lay_out(groups: tuple[LayerGroup, ...], blocks: dict[str, Block]) -> Iterator[Layer]:
    """The stack layer by layer, recursion aside."""
    index = 0
    shared: dict[str, int] = {}
    for group in groups:
        names = group.names * group.repeat
        start = index
        for loop in range(group.loops):
            for offset, name in enumerate(names):
                weights = start + offset if loop else index
                if blocks[name].share_weights:
                    weights = shared.setdefault(name, weights)
                yield Layer(index, name, weights)
                index += 1


def decoder_layers(spec: ModelSpec) -> tuple[Layer, ...]:
    """The decoder's (or only) stack. Raises ValueError when a recursion does not divide it."""
    layers = tuple(lay_out(spec.layers, spec.blocks))
    return layers if spec.recursion is None else tuple(_recurse(layers, spec.recursion))


def encoder_layers(spec: ModelSpec) -> tuple[Layer, ...]:
    """The encoder's stack; empty where there is none."""
    return tuple(lay_out(spec.encoder.layers, spec.blocks)) if spec.encoder else ()


def _recurse(layers: tuple[Layer, ...], recursion: Recursion) -> Iterator[Layer]:
    num, ends = recursion.num_recursions, 1 if recursion.sharing.startswith("middle") else 0
    inner = len(layers) - 2 * ends
    depth, rest = divmod(inner, num)
    if rest or depth < 1:
        between = " between the first and the last" if ends else ""
        raise ValueError(
            f"{inner} layers{between} do not divide into {num} recursions; "
            f"{inner - rest + 2 * ends} layers in all would (none is dropped silently)"
        )
    for layer in layers:
        place = layer.index - ends
        if not 0 <= place < inner:
            yield layer
            continue
        if recursion.sharing.endswith("cycle"):
            turn, unit = divmod(place, depth)
            weights = ends + unit
        else:
            unit, turn = divmod(place, num)
            weights = ends + unit * num
        if layers[weights].block != layer.block:
            raise ValueError(
                f"layer {layer.index} ('{layer.block}') would share the weights of "
                f"layer {weights} ('{layers[weights].block}')"
            )
        yield Layer(layer.index, layer.block, weights, turn)


def token_share(recursion: Recursion, turn: int, case: Case) -> Fraction | None:
    """The share of the tokens that recursion ``turn`` keeps; None when it is not known."""
    num = recursion.num_recursions
    if recursion.kv_cache == "shared":
        return Fraction(1 if turn == 0 else 0)
    if recursion.routing == "expert_choice":
        return recursion.capacities[turn] if recursion.capacities else Fraction(num - turn, num)
    if case == "worst" or turn == 0:
        return Fraction(1)
    if case == "least":
        return Fraction(0)
    return sum(recursion.depths[turn:], Fraction(0)) if recursion.depths else None


def kv_source(layers: tuple[Layer, ...], reader: Layer, block: str) -> Layer | None:
    """The latest layer before ``reader`` that was made from ``block``: whose K and V it reads."""
    for layer in reversed(layers[: reader.index]):
        if layer.block == block:
            return layer
    return None
