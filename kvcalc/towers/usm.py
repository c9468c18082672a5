"""The Universal Speech Model's encoder as Gemma has it: a Conformer with norms behind its sublayers.

    two convolutions of 3 x 3 taps over frames and bins, each with a norm, and a matrix to d
    a layer:  2 * (2 * d * 4 d + 2 norms)      two half feed-forward layers, four times as wide
              5 * d^2 + c + 2 norms            q, k, v, o, one of relative positions, a scale a channel
              2 d * d + d * K + d * d + 2 norms    a gated convolution of K taps
              a norm at the end of the layer
    a matrix with a bias to output_size (Gemma 4; Gemma 3n has none)

    d  hidden_size    c  head_dim = d / num_attention_heads    K  conv_kernel_size

All norms are RMS norms; nothing but the last matrix has a bias. Bounds of clipped linears are scalars
that a checkpoint holds as buffers; they are not counted.

Zhang et al. 2023, arXiv 2303.01037. Reference code: transformers models/gemma4/modeling_gemma4.py
(Gemma4AudioModel), gemma3n (Gemma3nAudioEncoder).

Worked number: Gemma 4's defaults, d = 1024, 12 layers, 8 heads, K = 5, channels 128 and 32, output_size
1536: 12 * 25,180,288 + 1,086,752 + 1,574,400 = 304,824,608.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Channels, Heads, Layers, Scaled, Taps
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart, conv, dense, norm


@frozen(kw_only=True)
class UniversalSpeech:
    """Gemma's audio encoder.

    Fields:
        kind: usm.
        component: the part of the model that it counts as.
        hidden_size: width of the layers.
        num_hidden_layers: layers.
        num_attention_heads: heads of a layer.
        conv_kernel_size: taps of the convolution in each layer.
        stem_channels: channels of the two convolutions in front.
        stem_features: what the matrix behind them reads: channels times the bins that are left.
        output_size: width of the last matrix's output, where there is one (Gemma 4).
    """

    kind: Literal["usm"]
    component: TowerPart = "audio"
    hidden_size: Scaled
    num_hidden_layers: Layers
    num_attention_heads: Heads
    conv_kernel_size: Taps
    stem_channels: tuple[int, ...]
    stem_features: Channels
    output_size: Scaled | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.hidden_size % self.num_attention_heads:
            heads = self.num_attention_heads
            yield "num_attention_heads", f"{self.hidden_size} is not divisible by {heads} heads"
        if len(self.stem_channels) != 2:
            yield "stem_channels", "there are two convolutions: give two widths"

    def groups(self) -> Iterator[TowerGroup]:
        """The stem, the layers and the last matrix."""
        part, width = self.component, self.hidden_size
        yield TowerGroup("", (), tuple(self._stem()))
        layers = tuple(range(self.num_hidden_layers))
        yield TowerGroup("layers.{}.", layers, tuple(self._layer()))
        if self.output_size is not None:
            last = dense("output_proj", self.output_size, width, part, bias=True)
            yield TowerGroup("", (), tuple(last))

    def _stem(self) -> Iterator[ParamTensor]:
        part, channels = self.component, 1
        for index, width in enumerate(self.stem_channels):
            yield from conv(f"stem.{index}.conv", (width, channels, 3, 3), part)
            yield from norm(f"stem.{index}.norm", "rmsnorm", width, part)
            channels = width
        yield from dense("stem.input_proj", self.hidden_size, self.stem_features, part)

    def _layer(self) -> Iterator[ParamTensor]:
        part, width = self.component, self.hidden_size
        for name in ("ffn_1", "ffn_2"):
            yield from norm(f"{name}.pre_norm", "rmsnorm", width, part)
            yield from dense(f"{name}.up_proj", 4 * width, width, part)
            yield from dense(f"{name}.down_proj", width, 4 * width, part)
            yield from norm(f"{name}.post_norm", "rmsnorm", width, part)
        yield from norm("attention.pre_norm", "rmsnorm", width, part)
        head_dim = width // self.num_attention_heads
        yield ParamTensor("attention.per_dim_scale", (head_dim,), part)
        for side in ("q", "k", "v", "o", "relative_k"):
            yield from dense(f"attention.{side}_proj", width, width, part)
        yield from norm("attention.post_norm", "rmsnorm", width, part)
        yield from norm("conv.pre_norm", "rmsnorm", width, part)
        yield from dense("conv.up_proj", 2 * width, width, part)
        yield from conv("conv.depth_conv", (width, 1, self.conv_kernel_size), part)
        yield from norm("conv.norm", "rmsnorm", width, part)
        yield from dense("conv.down_proj", width, width, part)
        yield from norm("final_norm", "rmsnorm", width, part)
