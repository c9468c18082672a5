"""What the towers' modules share: their base, transformer layers, attention from one width to another.

Letters in shape comments: B items, T positions, S positions that are read, d hidden_size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention as AttentionFields
from kvcalc.ffn.dense import DenseFeedForward as DenseFields
from kvcalc.ffn.gated import GatedFeedForward as GatedFields
from kvcalc.towers.layers import TransformerLayers as Fields
from kvcalc.verify.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.verify.ffn.dense import DenseFeedForward
from kvcalc.verify.ffn.gated import GatedFeedForward
from kvcalc.verify.parts import Linear, Module, Norm, Step, weight


class TowerModule(Module):
    """A tower that runs, and knows what it reads."""

    def example(self) -> Tensor:
        """The smallest input that passes every weight."""
        raise NotImplementedError


def like(module: nn.Module, *shape: int) -> Tensor:
    """An empty input with the device and dtype of a module's weights."""
    first = next(module.parameters())
    return torch.empty(shape, device=first.device, dtype=first.dtype)


def step_of(x: Tensor) -> Step:
    """All positions at once, in order."""
    order = torch.arange(x.shape[1], device=x.device)
    return Step(order, order, 0, order.expand(x.shape[0], -1), x)


class TransformerLayer(Module):
    """Attention that sees everything and a feed-forward layer, with the norms around them."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width, heads = c.hidden_size, c.num_attention_heads
        kv_heads = heads if c.num_key_value_heads is None else c.num_key_value_heads
        self.attention = SoftmaxAttention(
            AttentionFields(
                kind="mha" if kv_heads == heads else "gqa", num_attention_heads=heads,
                num_key_value_heads=kv_heads,
                head_dim=width // heads if c.head_dim is None else c.head_dim,
                bias=c.attention_bias, qk_norm=c.qk_norm, mask="bidirectional",
            ), width,
        )  # fmt: skip
        size, bias = c.intermediate_size, c.ffn_bias
        self.ffn: Module
        if c.ffn == "gated":
            fields = GatedFields(kind="gated", intermediate_size=size, bias=bias)
            self.ffn = GatedFeedForward(fields, width)
        else:
            plain = DenseFields(kind="dense", intermediate_size=size, bias=bias)
            self.ffn = DenseFeedForward(plain, width)
        self.norms = nn.ModuleList(Norm(width, c.norm) for _ in range(int(c.layer_norms)))
        self.scaled, self.both = c.layer_scale, c.layer_norms == "4"
        if c.layer_scale:
            self.lambda_1, self.lambda_2 = weight(width), weight(width)

    def forward(self, x: Tensor) -> Tensor:
        before, after = (0, 2) if self.both else (0, 1)
        y = self.attention(self.norms[before](x), None, step_of(x))
        y = self.norms[1](y) if self.both else y
        x = x + (y * self.lambda_1 if self.scaled else y)
        y = self.ffn(self.norms[after](x), None, step_of(x))
        y = self.norms[3](y) if self.both else y
        return x + (y * self.lambda_2 if self.scaled else y)


class Attention(Module):
    """Queries of one sequence over keys and values of another: (B, T, d) and (B, S, e) -> (B, T, d)."""

    def __init__(
        self, width: int, read: int, heads: int, *, bias: bool, head_dim: int | None = None,
        kv_heads: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.head_dim = head_dim or width // heads
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = Linear(width, query, bias)
        self.k_proj = Linear(read, key, bias)
        self.v_proj = Linear(read, key, bias)
        self.o_proj = Linear(query, width, bias)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(y.shape[0], y.shape[1], heads, self.head_dim).transpose(1, 2)

        times = self.heads // self.kv_heads
        q = split(self.q_proj(x), self.heads)
        k = split(self.k_proj(source), self.kv_heads).repeat_interleave(times, 1)
        v = split(self.v_proj(source), self.kv_heads).repeat_interleave(times, 1)
        y = ((q @ k.transpose(2, 3)) * self.head_dim**-0.5).softmax(-1) @ v
        return self.o_proj(y.transpose(1, 2).flatten(2))


class Ffn(Module):
    """Two matrices, or three where it is gated."""

    def __init__(self, width: int, inner: int, *, bias: bool, gated: bool = False) -> None:
        super().__init__()
        self.up_proj = Linear(width, inner, bias)
        self.down_proj = Linear(inner, width, bias)
        self.gate_proj = Linear(width, inner, bias) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        if self.gate_proj is None:
            return self.down_proj(F.gelu(up))
        return self.down_proj(F.silu(self.gate_proj(x)) * up)
