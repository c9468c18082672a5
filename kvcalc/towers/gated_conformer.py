"""Phi-4-multimodal's Conformer: gated feed-forward layers and convolutions, one table of distances.

    a stem of convolutions of 3 x 3 taps, each of which halves frames and bins: one of C channels, then
    pairs of a depthwise one and one of 1 x 1, and a matrix from what is left to d
    x = x + FFN_1(norm(x)) / 2,  x = x + Attention(norm(x)),  x = x + Conv(norm(x))
    x = x + FFN_2(norm(x)) / 2,  x = norm(x)

    FFN    W_2 (a(W_g x) * W_1 x), W_g and W_1 in one tensor of 2 f rows
    Attn   q, k, v, o, and one table for all layers of a bias for each distance and head
    Conv   W_1 to 2 d channels, (u + b_1) * a(g + b_2), depthwise of K taps, 1 x 1, 1 x 1

    d  hidden_size    f  intermediate_size    C  conv_channels    K  kernel_size

All of it has biases but the table. The mean and the deviation of each bin are buffers, which checkpoints
hold.

Abouelenin et al. 2025, arXiv 2503.01743 (section 2.2). Reference code: transformers
models/phi4_multimodal/modeling_phi4_multimodal.py (Phi4MultimodalAudioModel).

Worked number: its defaults, d = C = 1024, f = 1536, 24 layers, 16 heads, K = 3, 80 bins halved three
times to 10, 2,000 distances: 24 * 17,858,560 + 12,616,704 + 32,000 = 441,254,144.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Channels, Heads, Inner, Layers, Positions, Scaled, Taps
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart, conv, dense, norm


@frozen(kw_only=True)
class GatedConformer:
    """Phi-4-multimodal's audio encoder.

    Fields:
        kind: gated_conformer.
        component: the part of the model that it counts as.
        num_mel_bins: channels of a frame that goes in.
        conv_channels: width of the stem.
        halvings: convolutions in it that halve the frames.
        hidden_size: width of the layers.
        num_hidden_layers: layers.
        num_attention_heads: heads of a layer.
        intermediate_size: width inside each feed-forward layer.
        kernel_size: taps of the depthwise convolution in each layer.
        relative_positions: rows of the table of distances.
    """

    kind: Literal["gated_conformer"]
    component: TowerPart = "audio"
    num_mel_bins: Channels
    conv_channels: Scaled
    halvings: Taps = 3
    hidden_size: Scaled
    num_hidden_layers: Layers
    num_attention_heads: Heads
    intermediate_size: Inner
    kernel_size: Taps
    relative_positions: Positions

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.hidden_size % self.num_attention_heads:
            heads = self.num_attention_heads
            yield "num_attention_heads", f"{self.hidden_size} is not divisible by {heads} heads"

    @property
    def bins_left(self) -> int:
        """Bins behind the stem: a half each time, rounded up."""
        bins = self.num_mel_bins
        for _ in range(self.halvings):
            bins = -(-bins // 2)
        return bins

    def groups(self) -> Iterator[TowerGroup]:
        """The stem, the table of distances, and the layers."""
        part, width = self.component, self.conv_channels
        first = list(conv("stem.0.conv", (width, 1, 3, 3), part, bias=True))
        for index in range(1, self.halvings):
            first += conv(f"stem.{index}.depth_conv", (width, 1, 3, 3), part, bias=True)
            first += conv(f"stem.{index}.conv", (width, width, 1, 1), part, bias=True)
        first += dense("stem.out", self.hidden_size, width * self.bins_left, part, bias=True)
        table = (self.relative_positions, self.num_attention_heads)
        first.append(ParamTensor("relative_bias.weight", table, part))
        for name in ("mean", "inverse_deviation"):
            first.append(ParamTensor(name, (self.num_mel_bins,), part, buffer=True))
        yield TowerGroup("", (), tuple(first))
        yield TowerGroup("layers.{}.", tuple(range(self.num_hidden_layers)), tuple(self._layer()))

    def _layer(self) -> Iterator[ParamTensor]:
        part, width, inner = self.component, self.hidden_size, self.intermediate_size
        for name in ("ffn_1", "ffn_2"):
            yield from norm(f"{name}.norm", "layernorm", width, part)
            yield from dense(f"{name}.gate_up_proj", 2 * inner, width, part, bias=True)
            yield from dense(f"{name}.down_proj", width, inner, part, bias=True)
        yield from norm("attention.norm", "layernorm", width, part)
        for side in ("q", "k", "v", "o"):
            yield from dense(f"attention.{side}_proj", width, width, part, bias=True)
        yield from norm("conv.norm", "layernorm", width, part)
        yield from conv("conv.up_conv", (2 * width, width, 1), part, bias=True)
        yield ParamTensor("conv.up_bias", (width,), part)
        yield ParamTensor("conv.gate_bias", (width,), part)
        yield from conv("conv.depth_conv", (width, 1, self.kernel_size), part, bias=True)
        yield from conv("conv.point_conv", (width, width, 1), part, bias=True)
        yield from conv("conv.down_conv", (width, width, 1), part, bias=True)
        yield from norm("final_norm", "layernorm", width, part)
