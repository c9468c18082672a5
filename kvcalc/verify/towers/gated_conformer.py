"""Phi-4-multimodal's Conformer: gated half feed-forward layers around attention and a gated convolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.gated_conformer import GatedConformer as Fields
from kvcalc.verify.parts import Embedding, Linear, Module, Norm, weight
from kvcalc.verify.towers.parts import TowerModule, like


class HalfFfn(Module):
    """A gated feed-forward layer, half of which is added."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.norm = Norm(c.hidden_size, "layernorm")
        self.gate_up_proj = Linear(c.hidden_size, 2 * c.intermediate_size, True)
        self.down_proj = Linear(c.intermediate_size, c.hidden_size, True)

    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.gate_up_proj(self.norm(x)).chunk(2, -1)
        return x + self.down_proj(up * F.silu(gate)) / 2


class BiasedAttention(Module):
    """Attention whose scores have a bias by the distance of two frames, a number a head."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width = c.hidden_size
        self.heads, self.head_dim = c.num_attention_heads, width // c.num_attention_heads
        self.norm = Norm(width, "layernorm")
        self.q_proj, self.k_proj = Linear(width, width, True), Linear(width, width, True)
        self.v_proj, self.o_proj = Linear(width, width, True), Linear(width, width, True)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: (B, T, d), bias: (heads, T, T)."""
        y = self.norm(x)
        q, k, v = (
            proj(y).view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = (q @ k.transpose(2, 3)) * self.head_dim**-0.5 + bias
        return x + self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class GatedConv(Module):
    """A gate with biases of its own, a depthwise convolution, and two of one tap."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width, taps = c.hidden_size, c.kernel_size
        self.norm, self.taps = Norm(width, "layernorm"), taps
        self.up_conv = nn.Conv1d(width, 2 * width, 1)
        self.up_bias, self.gate_bias = weight(width), weight(width)
        self.depth_conv = nn.Conv1d(width, width, taps, padding=taps - 1, groups=width)
        self.point_conv, self.down_conv = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.up_conv(self.norm(x).transpose(1, 2)).chunk(2, 1)
        y = (up + self.up_bias[:, None]) * F.silu(gate + self.gate_bias[:, None])
        y = self.point_conv(self.depth_conv(y)[..., : x.shape[1]])
        made: Tensor = self.down_conv(F.silu(y)).transpose(1, 2)
        return x + made


class ConformerLayer(Module):
    """One layer."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.ffn_1, self.attention = HalfFfn(c), BiasedAttention(c)
        self.conv, self.ffn_2 = GatedConv(c), HalfFfn(c)
        self.final_norm = Norm(c.hidden_size, "layernorm")

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.final_norm(self.ffn_2(self.conv(self.attention(self.ffn_1(x), bias))))


class Halving(Module):
    """A convolution that halves frames and bins: dense for the first, depthwise and 1 x 1 for others."""

    def __init__(self, width: int, first: bool) -> None:
        super().__init__()
        self.first = first
        if first:
            self.conv = nn.Conv2d(1, width, 3, stride=2, padding=1)
        else:
            self.depth_conv = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width)
            self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x if self.first else self.depth_conv(x))
        return F.relu(made)


class GatedConformer(TowerModule):
    """The stem, the table of distances and the layers."""

    mean: Tensor
    inverse_deviation: Tensor

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c, width = c, c.conv_channels
        self.stem = nn.ModuleDict({str(n): Halving(width, n == 0) for n in range(c.halvings)})
        bins = c.num_mel_bins
        for _ in range(c.halvings):
            bins = (bins + 1) // 2
        self.stem["out"] = Linear(width * bins, c.hidden_size, True)
        self.relative_bias = Embedding(c.relative_positions, c.num_attention_heads)
        self.register_buffer("mean", torch.empty(c.num_mel_bins))
        self.register_buffer("inverse_deviation", torch.empty(c.num_mel_bins))
        self.layers = nn.ModuleList(ConformerLayer(c) for _ in range(c.num_hidden_layers))

    def example(self) -> Tensor:
        """Frames that leave two behind the stem."""
        return like(self, 1, 2 * 2**self.c.halvings, self.c.num_mel_bins)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, frames, bins)."""
        y = ((x - self.mean) * self.inverse_deviation)[:, None]
        for index in range(self.c.halvings):
            y = self.stem[str(index)](y)
        x = self.stem["out"](y.transpose(1, 2).flatten(2))
        rows, order = self.c.relative_positions, torch.arange(x.shape[1], device=x.device)
        apart = (order[None] - order[:, None] + rows // 2).clamp(0, rows - 1)
        bias = self.relative_bias(apart).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        return x
