"""What the reference modules share: a decode step, norms, rotary embedding, masks, attention.

Letters in shape comments: B sequences, T new tokens, S positions that are read, H query heads,
G key-value heads, d hidden_size. A layer's cache (``State``) is a plain dict of tensors that the
layer's modules write; None means a forward pass without a cache.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Module(nn.Module):
    """A module whose call returns a tensor, and which says so to the type checker.

    rank, num_ranks: its place among tensor-parallel ranks (kvcalc/verify/shards.py), for what goes by
    the index of a head; alone it is the first of one.
    """

    __call__: Callable[..., Tensor]
    rank: int = 0
    num_ranks: int = 1


class Linear(nn.Linear):
    """``torch.nn.Linear`` without a bias unless one is asked for."""

    __call__: Callable[..., Tensor]

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)

    def reset_parameters(self) -> None:
        """Weights are set by whoever runs the model; see kvcalc.verify.build."""


def weight(*shape: int) -> nn.Parameter:
    """A weight of this shape, filled by whoever runs the model."""
    return nn.Parameter(torch.empty(shape))


class Embedding(Module):
    """A table of vectors to look up."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = weight(rows, width)

    def forward(self, index: Tensor) -> Tensor:
        return F.embedding(index, self.weight)


class Norm(Module):
    """RMSNorm, or LayerNorm with or without a bias, over the last axis."""

    def __init__(self, width: int, kind: str = "rmsnorm") -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.weight = weight(width)
        if kind == "layernorm":
            self.bias = weight(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        y = up(x)
        if self.kind != "rmsnorm":
            y = y - y.mean(-1, keepdim=True)
        y = (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.weight
        return y + self.bias if self.kind == "layernorm" else y


def rms(x: Tensor) -> Tensor:
    """RMSNorm without a weight."""
    y = up(x)
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def up(x: Tensor) -> Tensor:
    """At least float32: what sums and exponentials are computed in."""
    return x if x.dtype == torch.float64 else x.float()


@dataclass(frozen=True)
class KeyValue:
    """Keys (B, G, S, d_k) and values (B, G, S, d_v) that one layer reads, another one too.

    order: (S,) the place of each in the sequence.
    """

    key: Tensor
    value: Tensor
    order: Tensor


@dataclass
class Step:
    """The tokens that one forward pass adds.

    order: (T,) the place of each among the tokens that this layer gets; masks go by it.
    positions: (T,) its place in the sequence; rotary embeddings go by it. Different from ``order``
        only in a recursion, where a router holds tokens back.
    start: tokens that this layer got before.
    token_ids: (B, T).
    embedded: (B, T, d) what entered the first layer (a shared block of Zamba2 reads it again).
    encoded: (B, S, d_e) the encoder's output, in the first pass only.
    relative: T5's table of biases by distance.
    places: (R, d) DeBERTa's table of relative positions, which layers read through their own keys.
    source: keys and values of another layer, where this one reads those.
    made: what the attention of this layer read, for layers that share it.
    history: (B, S) the tokens so far, the new ones last, for layers that look n-grams up.
    carried: what the first layer of a kind hands to the later ones within a pass (RWKV-7's value).
    """

    order: Tensor
    positions: Tensor
    start: int
    token_ids: Tensor
    embedded: Tensor
    encoded: Tensor | None = None
    relative: Embedding | None = None
    places: Tensor | None = None
    source: KeyValue | None = None
    made: KeyValue | None = None
    carried: dict[str, Tensor] = field(default_factory=dict)
    history: Tensor | None = None

    def of(self, **changes: Any) -> "Step":
        """The same step for one layer."""
        return replace(self, **changes)


# ---------------------------------------------------------------- what is kept


def append(cache: State | None, name: str, new: Tensor, axis: int) -> Tensor:
    """The kept positions followed by the new ones, along the token axis."""
    if cache is None or name not in cache:
        return new
    return torch.cat((cache[name], new), axis)


def remember(cache: State | None, name: str, tensor: Tensor) -> None:
    """Keep a tensor in storage of its own: a view would hold on to everything it was cut from."""
    if cache is not None:
        own = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        cache[name] = tensor if own and tensor.is_contiguous() else tensor.contiguous().clone()


def recall(cache: State | None, name: str, like: Tensor, dtype: str, *shape: int) -> Tensor:
    """A recurrent state as it was left, zeros at first, in the precision it is computed in."""
    if cache is not None and name in cache:
        return up(cache[name])
    return up(like.new_zeros((like.shape[0], *shape), dtype=_state_dtype(like, dtype)))


def retain(cache: State | None, name: str, like: Tensor, dtype: str, state: Tensor) -> None:
    """Keep a recurrent state in its own dtype (a float64 model keeps all of it)."""
    remember(cache, name, state.to(_state_dtype(like, dtype)))


def _state_dtype(like: Tensor, dtype: str) -> torch.dtype:
    return torch.float64 if like.dtype == torch.float64 else DTYPES[dtype]


class CausalConv(Module):
    """A depthwise causal convolution of K taps, which keeps its last K - 1 inputs."""

    def __init__(self, channels: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.weight = weight(channels, 1, kernel)
        if bias:
            self.bias = weight(channels)

    def forward(self, x: Tensor, cache: State | None) -> Tensor:
        channels, _, kernel = self.weight.shape
        if cache is not None and "conv_state" in cache:
            past = cache["conv_state"]
        else:
            past = x.new_zeros((x.shape[0], channels, kernel - 1))
        columns = torch.cat((past, x.transpose(1, 2)), 2)  # (B, channels, K - 1 + T)
        remember(cache, "conv_state", columns[:, :, columns.shape[2] - kernel + 1 :])
        # PyTorch's own depthwise convolution is ten times as slow in float64.
        taps = columns.unfold(2, kernel, 1) * self.weight.squeeze(1)[:, None]  # (B, channels, T, K)
        y = taps.sum(-1).transpose(1, 2)  # (B, T, channels)
        return y + self.bias if "bias" in self._parameters else y


def shifted(x: Tensor, cache: State | None) -> Tensor:
    """The input of the token before each token; the last one is kept for the next step."""
    if cache is not None and "token_shift" in cache:
        past = cache["token_shift"]
    else:
        past = x.new_zeros((x.shape[0], x.shape[2]))
    before = torch.cat((past.unsqueeze(1), x[:, :-1]), 1)  # (B, T, d)
    remember(cache, "token_shift", x[:, -1])
    return before


def delta_rule(
    S: Tensor, q: Tensor, k: Tensor, v: Tensor, b: Tensor, decay: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The delta rule token by token: outputs (B, T, h, d_v), and the state they leave.

        S_t = (I - b_t k_t k_t^T) a_t S_(t-1) + b_t k_t v_t^T          o_t = S_t^T q_t

    S (B, h, d_k, d_v), q and k (B, T, h, d_k), v (B, T, h, d_v), b (B, T, h); decay, the a of the
    equation: (B, T, h, 1, 1), or (B, T, h, d_k, 1) with one per channel of the key.
    """
    outs = []
    for t in range(q.shape[1]):
        if decay is not None:
            S = decay[:, t] * S
        known = torch.einsum("bhkv,bhk->bhv", S, k[:, t])
        delta = b[:, t, :, None] * (v[:, t] - known)  # (B, h, d_v)
        S = S + k[:, t, :, :, None] * delta[:, :, None]
        outs.append(torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(outs, 1), S


# ---------------------------------------------------------------- attention


@dataclass(frozen=True)
class Sight:
    """Which tokens a query may see, and so which ones are worth keeping.

    window: the last W, itself included. sinks: beside the window, the first ones. chunk: those of
    its own chunk of C.
    """

    window: int | None = None
    chunk: int | None = None
    sinks: int = 0
    both_ways: bool = False

    def mask(self, query: Tensor, key: Tensor) -> Tensor:
        """(T, S), true where query t may see key s."""
        distance = query[:, None] - key[None, :]
        seen = torch.ones_like(distance, dtype=torch.bool) if self.both_ways else distance >= 0
        if self.window is not None:
            near = distance.abs() < self.window
            seen = seen & (near | (key < self.sinks)[None, :])
        if self.chunk is not None:
            seen = seen & (query[:, None] // self.chunk == key[None, :] // self.chunk)
        return seen

    def held(self, tokens: int) -> tuple[int, int]:
        """How many of the first and how many of the last tokens are kept after ``tokens``."""
        if self.window is not None:
            if tokens <= self.sinks + self.window:
                return 0, tokens
            return self.sinks, self.window
        if self.chunk is not None:
            return 0, (tokens - 1) % self.chunk + 1 if tokens else 0
        return 0, tokens

    def kept(self, step: Step, cache: State | None) -> Tensor:
        """(S,) the places of the tokens that are kept from before, then of the new ones."""
        if cache is None or not step.start:
            return step.order
        first, last = self.held(step.start)
        device = step.order.device
        past = (torch.arange(first, device=device),
                torch.arange(step.start - last, step.start, device=device))  # fmt: skip
        return torch.cat((*past, step.order))

    def keep(self, cache: State | None, name: str, tensor: Tensor, axis: int, step: Step) -> None:
        """Keep what a later query may still see."""
        if cache is None:
            return
        first, last = self.held(step.start + step.order.shape[0])
        size = tensor.shape[axis]
        if first + last < size:
            parts = (tensor.narrow(axis, 0, first), tensor.narrow(axis, size - last, last))
            tensor = torch.cat(parts, axis) if first else parts[1]
        remember(cache, name, tensor)


def heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, n * w) -> (B, n, T, w)."""
    batch, tokens, width = x.shape
    return x.view(batch, tokens, num_heads, width // num_heads).transpose(1, 2)


def unfold(x: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """One axis as several: ``Tensor.unflatten``."""
    axis = axis % x.dim()
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])


def merged(x: Tensor) -> Tensor:
    """(B, n, T, w) -> (B, T, n * w)."""
    batch, num_heads, tokens, width = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, num_heads * width)


def rotary(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary embedding of (..., T, w): channel pairs (i, i + w / 2) turn by position * theta_i."""
    half = x.shape[-1] // 2
    if not half:
        return x
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    theta = 10000.0 ** (-torch.arange(half, device=x.device, dtype=kind) / half)
    angle = positions.to(kind)[:, None] * theta  # (T, w / 2)
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = up(x).split_with_sizes((half, half, x.shape[-1] - 2 * half), -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1).to(x.dtype)


# Another way to compute ``attend``, while kvcalc.verify.measure has set one.
backend: ContextVar[Callable[..., Tensor] | None] = ContextVar("backend", default=None)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
    sinks: Tensor | None = None, bias: Tensor | None = None, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """softmax(Q K^T / sqrt(d_k)) V for grouped heads; K and V are not repeated.

    q (B, H, T, d_k), k (B, G, S, d_k), v (B, G, S, d_v), mask (T, S) or whatever broadcasts to
    (B, G, H / G, T, S); sinks (H,) logits that take attention and give nothing; bias (H, T, S).
    A query that may see nothing gets zeros.
    """
    other = backend.get()
    if other is not None:
        return other(q, k, v, mask, sinks, bias, scale)
    batch, num_heads, tokens, width = q.shape
    groups = k.shape[1]
    q = q.reshape(batch, groups, num_heads // groups, tokens, width)  # (B, G, H/G, T, d_k)
    scores = up(q @ k.unsqueeze(2).transpose(-1, -2))  # (B, G, H/G, T, S)
    scores = scores * (width**-0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias.reshape(-1, groups, num_heads // groups, *bias.shape[-2:])
    scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is not None:
        column = up(sinks).view(1, groups, -1, 1, 1).expand(batch, -1, -1, tokens, 1)
        probabilities = torch.cat((scores, column), -1).softmax(-1)[..., :-1]
    else:
        probabilities = scores.softmax(-1)
    probabilities = probabilities.masked_fill(~mask, 0.0).to(v.dtype)
    y = probabilities @ v.unsqueeze(2)  # (B, G, H/G, T, d_v)
    return y.reshape(batch, num_heads, tokens, v.shape[-1])


def top(scores: Tensor, count: int, visible: Tensor) -> Tensor:
    """The ``count`` highest scores of each query among what it may see; of equals the first.

    The choice is each query's own and looks at nothing later than itself, so that a full pass and
    a decode step choose the same.
    """
    scores = scores.masked_fill(~visible, -torch.inf)
    chosen = scores.sort(dim=-1, descending=True, stable=True).indices[..., :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, chosen, True) & visible


def relative_bias(table: Embedding, query: Tensor, key: Tensor, both_ways: bool) -> Tensor:
    """(H, T, S): a learned bias by distance; all that are too far share the last row."""
    return table(_row(query, key, table.weight.shape[0], both_ways)).permute(2, 0, 1)


def content_to_position(
    q: Tensor, places: Tensor, query: Tensor, key: Tensor, both_ways: bool
) -> Tensor:
    """(B, H, T, S): queries on the keys of relative positions (DeBERTa, arXiv 2006.03654, eq. 4).

    q: (B, H, T, d_k). places: (G, R, d_k), the table's rows through the layer's key projection.
    """
    scores = q @ places.repeat_interleave(q.shape[1] // places.shape[0], 0).transpose(-1, -2)
    index = _row(query, key, places.shape[1], both_ways)  # (T, S)
    chosen = scores.gather(-1, index.expand(*scores.shape[:2], -1, -1))
    return up(chosen * q.shape[-1] ** -0.5)


def _row(query: Tensor, key: Tensor, rows: int, both_ways: bool) -> Tensor:
    """(T, S): the row of a table by distance; one half for each direction where both are seen."""
    distance = query[:, None] - key[None, :]
    if not both_ways:
        return distance.clamp(0, rows - 1)
    half = max(rows // 2, 1)
    index = torch.where(distance < 0, half, 0) + distance.abs().clamp(max=half - 1)
    return index.clamp(max=rows - 1)
