"""What a layer keeps of a sequence: each tensor as a band over the positions, filled where it is kept."""

from collections.abc import Iterable, Iterator
from math import prod

from kvcalc.deployment.curves import bends
from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.inventory import CacheGroup
from kvcalc.site.drawings.svg import drawing, rect, words
from kvcalc.tensors import (
    CacheTensor,
    Chunk,
    EncoderTokens,
    Extent,
    LastBlock,
    Once,
    PerBlock,
    Share,
    SinkWindow,
    Tail,
    Window,
)
from kvcalc.units import format_tokens

_WIDTH, _LEFT, _RIGHT = 800, 205, 130
_ROOM = _WIDTH - _LEFT - _RIGHT
# As many pieces of a band are told apart.
_PIECES = 96
# Where nothing is bounded.
_USUAL = 8192


def length_of(functions: Iterable[CacheFunction]) -> int:
    """Tokens at which what is bounded takes a quarter of the band."""
    found = [bend for function in functions for bend in bends(function)]
    return 4 * max(found) if found else _USUAL


def groups_length(groups: Iterable[CacheGroup]) -> int:
    """The same of groups of layers."""
    return length_of([compile_groups(tuple(groups), CacheDtypes())])


def draw(title: str, tensors: tuple[CacheTensor, ...], tokens: int) -> str:
    """The bands of one layer; the higher, the more elements a position has."""
    widest = max(prod(tensor.shape) for tensor in tensors)
    parts, top = [], 8
    for tensor in tensors:
        height = max(9, 34 * prod(tensor.shape) // widest)
        parts.append(_band(tensor, tokens, top, height))
        top += max(height, 22) + 10
    parts.append(words(_LEFT, top + 8, "position 0", "quiet small"))
    end = f"{format_tokens(tokens)} tokens"
    parts.append(words(_LEFT + _ROOM, top + 8, end, "quiet small", "end"))
    about = "; ".join(
        f"{tensor.name}, {prod(tensor.shape):,} elements: {tensor.extent}" for tensor in tensors
    )
    return drawing(_WIDTH, top + 14, title, f"Of {tokens:,} tokens: {about}.", parts)


def _band(tensor: CacheTensor, tokens: int, top: int, height: int) -> str:
    middle = top + max(height, 22) / 2 + 4
    start = top + (max(height, 22) - height) / 2
    elements = prod(tensor.shape)
    said = words(0, middle - 5, tensor.name, "name") + words(
        0, middle + 9, str(tensor.extent), "quiet small"
    )
    count = f"{tensor.extent.positions(tokens, tokens):,}"
    if isinstance(tensor.extent, Tail):
        # As many as there can be, or the drawing would depend on where the sequence ends.
        count = f"0 to {tensor.extent.size - 1:,}"
    kept = f"{count} × {elements:,}"
    if isinstance(tensor.extent, Once):
        said += rect(_LEFT, start, 26, height, "kept state", "one state, whatever the length")
        kept = f"{elements:,} in all"
    else:
        said += rect(_LEFT, start, _ROOM, height, "track")
        kind = "kept encoder" if isinstance(tensor.extent, EncoderTokens) else "kept"
        for first, last in _pieces(tensor.extent, tokens):
            place = _LEFT + _ROOM * first / tokens
            said += rect(place, start, max(2.0, _ROOM * (last - first) / tokens), height, kind)
    return said + words(_WIDTH - _RIGHT + 12, middle, kept, "figure")


def _pieces(extent: Extent, tokens: int) -> Iterator[tuple[float, float]]:
    """From which to which position something is kept."""
    match extent:
        case Window(size):
            yield max(0, tokens - size), tokens
        case Chunk(size):
            yield (tokens - 1) // size * size, tokens
        case SinkWindow(sinks, size):
            yield 0, min(sinks, tokens)
            yield max(0, tokens - size), tokens
        case Tail(size):
            yield tokens - size + 1, tokens
        case LastBlock(size):
            yield tokens - size, tokens
        case PerBlock(_, stride):
            # One entry is drawn as a stroke of its own where there is room for so many.
            count = min(extent.positions(tokens, 0), _PIECES)
            step = tokens / max(count, 1)
            yield from ((step * each, step * (each + 0.4)) for each in range(count))
            assert stride
        case Share(fraction):
            over, under = fraction.numerator, fraction.denominator
            step = tokens / _PIECES
            for each in range(_PIECES):
                if (each + 1) * over // under > each * over // under:
                    yield step * each, step * (each + 0.8)
        case _:
            yield 0, tokens
