"""Gemma's audio encoder: a Conformer with RMS norms behind its sublayers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.usm import UniversalSpeech as Fields
from kvcalc.verify.parts import Linear, Module, Norm, weight
from kvcalc.verify.towers.parts import Ffn, TowerModule, like


class StemConv(Module):
    """A convolution that halves frames and bins, and a norm over its channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.norm = Norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class HalfFfn(Ffn):
    """A feed-forward layer four times as wide, half of which is added."""

    def __init__(self, c: Fields) -> None:
        super().__init__(c.hidden_size, 4 * c.hidden_size, bias=False)
        self.pre_norm, self.post_norm = Norm(c.hidden_size), Norm(c.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.post_norm(super().forward(self.pre_norm(x))) / 2


class SpeechAttention(Module):
    """Attention with a scale for each channel of a head and a projection of relative positions."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width = c.hidden_size
        self.heads, self.head_dim = c.num_attention_heads, width // c.num_attention_heads
        self.pre_norm, self.post_norm = Norm(width), Norm(width)
        self.per_dim_scale = weight(self.head_dim)
        self.q_proj, self.k_proj = Linear(width, width), Linear(width, width)
        self.v_proj, self.o_proj = Linear(width, width), Linear(width, width)
        self.relative_k_proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pre_norm(x)

        def split(part: Tensor) -> Tensor:
            return part.view(part.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)

        q = split(self.q_proj(y)) * F.softplus(self.per_dim_scale)
        k, v = split(self.k_proj(y)), split(self.v_proj(y))
        # Sinusoids of distances stand in for themselves: what is projected is as wide as a frame.
        places = split(self.relative_k_proj(torch.ones_like(y)))
        scores = q @ k.transpose(2, 3) + q @ places.transpose(2, 3)
        made = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return x + self.post_norm(self.o_proj(made))


class LightConv(Module):
    """A gated matrix, a depthwise convolution with a norm, and a matrix."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width, taps = c.hidden_size, c.conv_kernel_size
        self.pre_norm, self.norm = Norm(width), Norm(width)
        self.up_proj, self.down_proj = Linear(width, 2 * width), Linear(width, width)
        self.depth_conv = nn.Conv1d(width, width, taps, padding=taps - 1, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.up_proj(self.pre_norm(x)), -1)
        y = self.depth_conv(y.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        return x + self.down_proj(F.silu(self.norm(y)))


class SpeechLayer(Module):
    """One layer."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.ffn_1, self.attention = HalfFfn(c), SpeechAttention(c)
        self.conv, self.ffn_2 = LightConv(c), HalfFfn(c)
        self.final_norm = Norm(c.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.final_norm(self.ffn_2(self.conv(self.attention(self.ffn_1(x)))))


class UniversalSpeech(TowerModule):
    """The stem, the layers and a matrix to the projector's width, where there is one."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        first, second = c.stem_channels
        self.stem = nn.ModuleDict({"0": StemConv(1, first), "1": StemConv(first, second)})
        self.stem["input_proj"] = Linear(c.stem_features, c.hidden_size)
        self.layers = nn.ModuleList(SpeechLayer(c) for _ in range(c.num_hidden_layers))
        self.output_proj = Linear(c.hidden_size, c.output_size, True) if c.output_size else None

    def example(self) -> Tensor:
        """Eight frames of as many bins as the stem's matrix reads, after two halvings."""
        bins = 4 * self.c.stem_features // self.c.stem_channels[1]
        return like(self, 1, 8, bins)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, frames, bins)."""
        y = self.stem["1"](self.stem["0"](x[:, None]))  # (B, c, frames / 4, bins / 4)
        x = self.stem["input_proj"](y.permute(0, 2, 3, 1).flatten(2))
        for layer in self.layers:
            x = layer(x)
        return x if self.output_proj is None else self.output_proj(x)
