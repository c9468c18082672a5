"""The inventory that every number is derived from: the tensors a model owns and the tensors it keeps.

A mechanism (kvcalc/attention, kvcalc/recurrent, kvcalc/ffn) is a frozen dataclass that answers with
lists of these, never with bytes. Bytes, breakdowns, shards, pages, explanations and the shapes that
the verifier expects all come from the one list, so a formula is written once.
"""

from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Literal

from kvcalc.buffers import Grown, Rotating, Sliced
from kvcalc.dtypes import CacheDtypes, Role
from kvcalc.frozen import changed, frozen

if TYPE_CHECKING:
    from fractions import Fraction

# ---------------------------------------------------------------- how many positions are kept
# Each extent answers positions(tokens, encoder_tokens), and slope(): the positions that one more
# token adds in the long run, as (numerator, denominator).


@frozen
class EveryToken:
    """One entry per token of the sequence, kept for as long as the sequence lives."""

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return tokens

    def slope(self) -> tuple[int, int]:
        return 1, 1

    def __str__(self) -> str:
        return "every token"


@frozen
class Window:
    """The last ``size`` tokens, the current one included."""

    size: int

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return min(tokens, self.size)

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"last {self.size} tokens"


@frozen
class Chunk:
    """The tokens of the current chunk: at most ``size`` before the next chunk begins."""

    size: int

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return min(tokens, self.size)

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"current chunk of {self.size} tokens"


@frozen
class SinkWindow:
    """The first ``sinks`` tokens and the last ``size`` (StreamingLLM)."""

    sinks: int
    size: int

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return min(tokens, self.sinks + self.size)

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"first {self.sinks} and last {self.size} tokens"


@frozen
class PerBlock:
    """One entry for each whole block of ``size`` tokens; a new block begins every ``stride``."""

    size: int
    stride: int

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return (tokens - self.size) // self.stride + 1 if tokens >= self.size else 0

    def slope(self) -> tuple[int, int]:
        return 1, self.stride

    def __str__(self) -> str:
        return f"one per {self.stride} tokens"


@frozen
class Tail:
    """The tokens of the block of ``size`` that is not full yet: tokens mod size.

    The only extent that shrinks as the sequence grows; see ``CacheFunction.most`` for the peak.
    """

    size: int

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return tokens % self.size

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"tokens of the unfinished block of {self.size}"


@frozen
class LastBlock:
    """The ``size`` tokens of the last whole block, kept for the overlap with the next one."""

    size: int

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return self.size if tokens >= self.size else 0

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"last whole block of {self.size} tokens"


@frozen
class Share:
    """The tokens that a router lets through: ``max(1, floor(fraction * tokens))``."""

    fraction: "Fraction"

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        if not tokens or not self.fraction:
            return 0
        return max(1, tokens * self.fraction.numerator // self.fraction.denominator)

    def slope(self) -> tuple[int, int]:
        return self.fraction.numerator, self.fraction.denominator

    def __str__(self) -> str:
        return f"{self.fraction} of the tokens"


@frozen
class EncoderTokens:
    """One entry per encoder token, computed once, whatever the decoder's length."""

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return encoder_tokens

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return "every encoder token"


@frozen
class Once:
    """A state of fixed size per sequence: it has no token axis."""

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return 1 if tokens or encoder_tokens else 0

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return "once per sequence"


Extent = (
    EveryToken | Window | Chunk | SinkWindow | PerBlock | Tail | LastBlock | Share
    | EncoderTokens | Once | Grown | Rotating | Sliced
)  # fmt: skip
EVERY_TOKEN = EveryToken()
ENCODER_TOKENS = EncoderTokens()
ONCE = Once()

# ---------------------------------------------------------------- what tensor parallelism divides


@frozen
class Part:
    """A stretch of one axis: ``size`` elements in ``units`` that a rank gets whole.

    replicate: with more ranks than units each rank holds one unit (KV heads, B/C groups).
    pad: the axis is padded up when the ranks do not divide it (a vocabulary).
    """

    size: int
    units: int
    replicate: bool = False
    pad: bool = False

    def per_rank(self, ranks: int) -> int:
        """Elements on the fullest rank. Raises ValueError when the units cannot be dealt out."""
        if self.units % ranks == 0:
            return self.size // ranks
        if self.replicate and ranks % self.units == 0:
            return self.size // self.units
        if self.pad:
            return -(-self.size // ranks)
        near = [each for each in range(1, self.units + 1) if self.units % each == 0]
        below = max((each for each in near if each < ranks), default=1)
        above = min((each for each in near if each > ranks), default=None)
        ways = f"{below} does" if above is None else f"{below} and {above} do"
        raise ValueError(f"{self.units} cannot be divided among {ranks} ranks; {ways}")


@frozen
class Shard:
    """Tensor parallelism divides ``axis`` of a tensor's shape; ``parts`` lie along it in order."""

    axis: int
    parts: tuple[Part, ...]

    def per_rank(self, shape: tuple[int, ...], ranks: int) -> tuple[int, ...]:
        axis = self.axis % len(shape)
        size = sum([part.per_rank(ranks) for part in self.parts])
        return (*shape[:axis], size, *shape[axis + 1 :])


def split(axis: int, size: int, units: int | None = None) -> Shard:
    """Divide an axis evenly: query heads, channels, experts' inner width."""
    return Shard(axis, (Part(size, units or size),))


def split_kv_heads(axis: int, size: int, num_kv_heads: int) -> Shard:
    """Divide KV heads, and give each rank a copy of one when there are fewer heads than ranks."""
    return Shard(axis, (Part(size, num_kv_heads, replicate=True),))


# ---------------------------------------------------------------- parameters

# The last three are the parts beside the language model: kvcalc/towers.
Component = Literal[
    "embedding", "attention", "recurrent", "ffn", "experts", "router", "norm", "head", "other",
    "vision", "audio", "projector",
]  # fmt: skip


@frozen
class ParamTensor:
    """One weight tensor, named and shaped as a PyTorch module would list it (out, in).

    shard: None when every rank holds it whole.
    experts_per_token: how many entries of axis 0 one token passes; None when it passes all.
    buffer: kept by some libraries as a buffer, not in ``parameters()``; counted apart.
    quantised: a matrix that quantisers take: a linear layer's, stacked experts, a table of tokens.
        Norms, biases, convolutions and other tensors of their own stay in the default format.
    fused: how many matrices of the checkpoint lie along the rows of this one (gate and up: 2).
    """

    name: str
    shape: tuple[int, ...]
    component: Component
    shard: Shard | None = None
    experts_per_token: int | None = None
    buffer: bool = False
    quantised: bool = False
    fused: int = 1

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def active_numel(self) -> int:
        """Elements that one token passes."""
        if self.experts_per_token is None:
            return self.numel
        return self.numel // self.shape[0] * self.experts_per_token

    def per_rank(self, ranks: int) -> tuple[int, ...]:
        """Shape on the fullest of ``ranks`` tensor-parallel ranks. Raises ValueError as a part does."""
        if self.shard is None:
            return self.shape
        found = self._divided.get(ranks)
        if found is None:
            try:
                found = self.shard.per_rank(self.shape, ranks)
            except ValueError as error:
                found = str(error)
            self._divided[ranks] = found
        if isinstance(found, str):
            raise ValueError(found)
        return found

    @cached_property
    def _divided(self) -> dict[int, tuple[int, ...] | str]:
        """The shapes that were asked for so far; in words why there is none."""
        return {}


def linear(
    name: str, out_features: int, in_features: int, component: Component, *,
    bias: bool = False, shard: Shard | None = None, experts_per_token: int | None = None,
    quantised: bool = True,
) -> Iterator[ParamTensor]:  # fmt: skip
    """The tensors of ``torch.nn.Linear``: weight (out, in) and, if asked for, bias (out,)."""
    yield ParamTensor(
        f"{name}.weight", (out_features, in_features), component, shard, experts_per_token,
        quantised=quantised,
    )  # fmt: skip
    if bias:
        # A bias follows the output axis; where the input axis is divided every rank needs it whole.
        own = shard if shard is not None and shard.axis == 0 else None
        yield ParamTensor(f"{name}.bias", (out_features,), component, own, experts_per_token)


def prefixed(prefix: str, tensors: Iterator[ParamTensor]) -> Iterator[ParamTensor]:
    """The same tensors with ``prefix.`` before their names."""
    for tensor in tensors:
        yield changed(tensor, name=f"{prefix}.{tensor.name}")


# ---------------------------------------------------------------- the cache


@frozen
class CacheTensor:
    """One tensor that is kept between decode steps, for one sequence and one layer.

    shape: without batch and without the token axis, which stands at ``token_axis``
    (a key: shape (8, 128), token_axis 1 -> [batch, 8, tokens, 128]).
    extent: how many positions the token axis holds. role: picks the number format.
    row_axis: the axis of ``shape`` along which block formats pack elements.
    dtype: what a recurrent state is kept in unless the user says otherwise; None means fp32. Of
    another role: what it is kept in always; None is the format of its role.
    """

    name: str
    shape: tuple[int, ...]
    extent: Extent
    role: Role
    shard: Shard | None = None
    token_axis: int = 0
    row_axis: int = -1
    dtype: str | None = None

    def full_shape(self, batch_size: int, positions: int) -> tuple[int, ...]:
        """The shape as a library prints it, batch first."""
        if isinstance(self.extent, Once):
            return (batch_size, *self.shape)
        axis = self.token_axis
        return (batch_size, *self.shape[:axis], positions, *self.shape[axis:])

    def position_bytes(self, dtypes: CacheDtypes, shape: tuple[int, ...] | None = None) -> int:
        """Bytes of one position (of the whole state when there is no token axis).

        shape: a rank's share of ``self.shape``. Raises ValueError when the format does not fit.
        """
        shape = self.shape if shape is None else shape
        row = shape[self.row_axis]
        try:
            row_bytes = dtypes.format(self.role, self.dtype).row(row)
        except ValueError as error:
            raise ValueError(f"{self.name} {list(shape)}: {error}") from None
        return prod(shape) // row * row_bytes

    def per_rank(self, ranks: int) -> tuple[int, ...]:
        """The shape on the fullest of ``ranks`` tensor-parallel ranks."""
        return self.shard.per_rank(self.shape, ranks) if self.shard else self.shape
