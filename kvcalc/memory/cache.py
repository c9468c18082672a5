"""Bytes of the cache: a model's inventory compiled to a function of tokens, and evaluated.

A cache is piecewise linear in the tokens: the bytes of all tensors with the same extent add up to
one coefficient, and a model has a handful of extents. So a grid of a hundred thousand workloads
walks the inventory once. Only the unfinished block of a compressed cache (``Tail``) shrinks as the
sequence grows; ``most`` finds the peak at or below a length.
"""

from collections.abc import Sequence
from math import lcm
from typing import TYPE_CHECKING

from kvcalc.buffers import Grown, Rotating, Sliced, first_end
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen, remembered
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import (
    CacheTensor,
    Chunk,
    EncoderTokens,
    Extent,
    LastBlock,
    Once,
    PerBlock,
    SinkWindow,
    Tail,
    Window,
)

if TYPE_CHECKING:
    from fractions import Fraction

    from kvcalc.stack.recursion import Case


@frozen
class CacheFunction:
    """Bytes of one sequence's cache as a function of its tokens.

    terms: (extent, bytes per position of all tensors with that extent).
    """

    terms: tuple[tuple[Extent, int], ...]

    def at(self, tokens: int, encoder_tokens: int = 0) -> int:
        """Bytes held at exactly ``tokens`` positions. Raises UsageError where that is negative."""
        if tokens < 0 or encoder_tokens < 0:
            raise UsageError("a token count cannot be negative")
        return sum(
            extent.positions(tokens, encoder_tokens) * num_bytes for extent, num_bytes in self.terms
        )

    def peak(self, tokens: int, encoder_tokens: int = 0) -> int:
        """The length up to ``tokens`` at which the most is held: ``tokens`` unless a tail shrinks."""
        tails = {extent.size for extent, _ in self.terms if isinstance(extent, Tail)}
        if not tails or tokens < 0:
            return tokens
        # Between two wraps of a tail everything grows, so the peak is at the end or just before a
        # wrap; and a whole period earlier every term is at most what it is here.
        period = lcm(*tails)
        first = max(0, tokens - period)
        lengths = {tokens} | {
            end for size in tails for end in range(tokens - (tokens + 1) % size, first - 1, -size)
        }
        return max(
            (length for length in lengths if length >= 0),
            key=lambda length: (self.at(length, encoder_tokens), length),
        )

    def most(self, tokens: int, encoder_tokens: int = 0) -> int:
        """The most bytes held at any length up to ``tokens``."""
        return self.at(self.peak(tokens, encoder_tokens), encoder_tokens)

    def prefill_peak(self, tokens: int, encoder_tokens: int = 0) -> int:
        """The most bytes at the end of a step of a prefill of ``tokens``, for buffers that are read in
        steps (kvcalc.buffers). A cache that is quantised at some length is there in both formats."""
        moments = [0, 0, 0]
        quantised = next((extent.since for extent, _ in self.terms
                          if isinstance(extent, Grown) and extent.since), None)  # fmt: skip
        at = None if quantised is None else first_end(quantised, tokens)
        both = 0
        for extent, num_bytes in self.terms:
            if not isinstance(extent, Grown | Rotating | Sliced):
                held = num_bytes * extent.positions(tokens, encoder_tokens)
                moments = [each + held for each in moments]
                both += held
                continue
            stages = extent.stages(tokens)
            moments = [each + num_bytes * rows for each, rows in zip(moments, stages, strict=True)]
            if at is not None and not (isinstance(extent, Grown) and extent.since):
                whole = Grown() if isinstance(extent, Grown) else extent
                both += num_bytes * whole.stages(at[0])[at[1]]
        return max(*moments, both if at is not None else 0)

    @property
    def slope(self) -> "Fraction":
        """Bytes that one more token adds in the long run, exactly."""
        from fractions import Fraction

        rates = (Fraction(*extent.slope()) * num_bytes for extent, num_bytes in self.terms)
        return sum(rates, Fraction(0))

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one more token adds once every window is full, on average over a block.

        A whole number, rounded up where blocks make it a fraction.
        """
        scale = lcm(*(extent.slope()[1] for extent, _ in self.terms))
        total = 0
        for extent, num_bytes in self.terms:
            numerator, denominator = extent.slope()
            total += numerator * (scale // denominator) * num_bytes
        return -(-total // scale)

    def next_token_bytes(self, tokens: int) -> int:
        """Bytes that a token costs at this length: windows that ``tokens`` positions do not pass grow,
        too. On average over a block and rounded up, as ``bytes_per_token``, which it is in the end.

        mistral-7b-v0.1 has a window of 4,096: a token costs 131,072 bytes up to it, then nothing.
        """
        growing = sum(
            num_bytes
            for extent, num_bytes in self.terms
            if isinstance(
                extent, Window | Chunk | SinkWindow | Tail | LastBlock | Rotating | Sliced
            )
            and tokens <= _fixed_positions(extent, 0)
        )
        return growing + self.bytes_per_token

    def fixed_bytes(self, encoder_tokens: int = 0) -> int:
        """Bytes of a sequence whatever its length: full windows, states, the cross cache."""
        return sum(
            num_bytes * _fixed_positions(extent, encoder_tokens) for extent, num_bytes in self.terms
        )


def _fixed_positions(extent: Extent, encoder_tokens: int) -> int:
    """Positions that an extent holds in the limit, beside what grows with the tokens."""
    match extent:
        case Window(size) | Chunk(size) | LastBlock(size) | Rotating(size) | Sliced(size):
            return size
        case SinkWindow(sinks, size):
            return sinks + size
        case EncoderTokens():
            return encoder_tokens
        case Once():
            return 1
        case Tail(size):
            return size - 1
        case PerBlock(size, stride):
            # A first entry that needs more than one stride of tokens comes late: never negative.
            return min(0, 1 - size // stride)
        case _:
            return 0


def tensor_bytes(tensor: CacheTensor, dtypes: CacheDtypes, ranks: int = 1) -> int:
    """Bytes per position of one tensor on the fullest rank. Raises UnsupportedError by name."""
    return _position_bytes(tensor, dtypes, _rank_shape(tensor, ranks))


def _rank_shape(tensor: CacheTensor, ranks: int) -> tuple[int, ...]:
    try:
        return tensor.per_rank(ranks)
    except ValueError as error:
        raise UnsupportedError(f"tensor parallelism over {ranks} ranks: "
                               f"{tensor.name} {list(tensor.shape)}: {error}") from None  # fmt: skip


def _position_bytes(tensor: CacheTensor, dtypes: CacheDtypes, shape: tuple[int, ...]) -> int:
    try:
        return tensor.position_bytes(dtypes, shape)
    except ValueError as error:
        raise UnsupportedError(str(error)) from None


def compile_groups(
    groups: tuple[CacheGroup, ...], dtypes: CacheDtypes, ranks: int = 1
) -> CacheFunction:
    """Add up the tensors of the same extent over all layers of ``groups``."""
    extents, tensors = _by_extent(groups)
    known = _alike(groups)
    if ranks not in known:
        try:
            known[ranks] = _shares(tensors, ranks)
        except UnsupportedError as error:
            known[ranks] = error.message
    shares = known[ranks]
    if isinstance(shares, str):
        raise UnsupportedError(shares)
    totals = [0] * len(extents)
    for tensor, shape, index, times in shares:
        totals[index] += _position_bytes(tensor, dtypes, shape) * times
    return CacheFunction(tuple(zip(extents, totals, strict=True)))


@remembered
def _by_extent(
    groups: tuple[CacheGroup, ...],
) -> tuple[tuple[Extent, ...], list[tuple[CacheTensor, int, int]]]:
    """The extents that differ; and each tensor, which of them it has, and in how many layers."""
    extents: dict[Extent, int] = {}
    tensors = [
        (tensor, extents.setdefault(tensor.extent, len(extents)), len(group.layers))
        for group in groups
        for tensor in group.tensors
    ]
    return tuple(extents), tensors


# A tensor, its shape on a rank, which extent it has, and how many take the same bytes.
_Share = tuple[CacheTensor, tuple[int, ...], int, int]


@remembered
def _alike(groups: tuple[CacheGroup, ...]) -> dict[int, list[_Share] | str]:
    """``_shares`` by the numbers of ranks that were asked for so far, or why there are none."""
    return {}


def _shares(tensors: list[tuple[CacheTensor, int, int]], ranks: int) -> list[_Share]:
    """The first of the tensors that take the same bytes, whatever the number format."""
    found: dict[tuple[object, ...], _Share] = {}
    for tensor, index, layers in tensors:
        shape = _rank_shape(tensor, ranks)
        kind = (index, tensor.role, tensor.dtype, tensor.row_axis, shape)
        first, _, _, times = found.get(kind, (tensor, shape, index, 0))
        found[kind] = (first, shape, index, times + layers)
    return list(found.values())


def cache_function(
    spec: ModelSpec, dtypes: CacheDtypes, ranks: int = 1, case: "Case" = "worst"
) -> CacheFunction:
    """One sequence's cache as a function of its tokens.

    Raises UnsupportedError where a number format or a number of ranks does not fit a tensor.
    """
    return compile_groups(groups_of(spec, case), dtypes, ranks)


def same_share(spec: ModelSpec, ranks: Sequence[int]) -> dict[int, int]:
    """For each number of ranks the first of them whose ranks hold tensors of the same shapes.

    More ranks than KV heads hold a head each, however many they are.
    """
    tensors = [tensor for group in groups_of(spec) for tensor in group.tensors]
    first: dict[tuple[tuple[int, ...], ...], int] = {}
    found = {}
    for count in ranks:
        try:
            found[count] = first.setdefault(tuple([t.per_rank(count) for t in tensors]), count)
        except ValueError:
            found[count] = count
    return found
