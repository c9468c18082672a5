"""The Conformer: attention between two half feed-forward layers, and a convolution behind it.

    x = x + FFN_1(x) / 2,  x = x + Attention(x),  x = x + Conv(x),  x = x + FFN_2(x) / 2,  x = norm(x)

    FFN    norm, d f + f, f d + d (twice)
    Attn   norm, q, k, v, o; positions: a table a layer (Shaw) of (2 P + 1) * c, or none of its own
    Conv   norm, pointwise d -> 2 e d (a gate halves it), depthwise of K taps over e d channels with a
           norm over a batch, pointwise e d -> d, with biases but for the depthwise one

    d  hidden_size    f  intermediate_size    K  conv_kernel_size    e  conv_expansion    c  head_dim

Statistics of the batch norm are buffers: two vectors and a count a layer, which checkpoints hold.

Gulati et al. 2020, arXiv 2005.08100. Reference code: transformers models/granite_speech
(GraniteSpeechConformerBlock), whose encoder ends in a head of characters that is read back in the middle.

Worked number: Granite Speech's defaults, d = 1024, 10 layers, f = 4096, 8 heads of 128, K = 15, e = 2,
1,025 relative positions, 160 bins, 42 characters: 10 * 27,455,616 + 164,864 + 43,050 + 44,032 =
274,808,106.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Channels, Heads, Inner, Layers, Positions, Rows, Scaled, Taps, Width
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import Side, TowerGroup, TowerPart, conv, dense, norm


@frozen(kw_only=True)
class ConformerEncoder:
    """Macaron layers with a convolution module over sound.

    Fields:
        kind: conformer.
        component: the part of the model that it counts as.
        input_size: channels of a frame that goes in.
        hidden_size: width of the layers.
        num_hidden_layers: layers.
        num_attention_heads: heads of a layer.
        head_dim: width of a head.
        intermediate_size: width inside each feed-forward layer.
        attention_bias: which projections have a bias.
        relative_positions: rows of a table of relative positions in each layer.
        conv_kernel_size: taps of the depthwise convolution.
        conv_expansion: its channels over hidden_size.
        output_size: rows of a head of characters, and of the matrix that reads it back.
    """

    kind: Literal["conformer"]
    component: TowerPart = "audio"
    input_size: Channels
    hidden_size: Scaled
    num_hidden_layers: Layers
    num_attention_heads: Heads
    head_dim: Width
    intermediate_size: Inner
    attention_bias: tuple[Side, ...] = ("o",)
    relative_positions: Positions | None = None
    conv_kernel_size: Taps
    conv_expansion: Taps = 2
    output_size: Rows | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """A Conformer has nothing to contradict."""
        yield from ()

    def groups(self) -> Iterator[TowerGroup]:
        """The matrix in front, the layers, and the head of characters."""
        part, width = self.component, self.hidden_size
        first = dense("input_linear", width, self.input_size, part, bias=True)
        yield TowerGroup("", (), tuple(first))
        layers = tuple(range(self.num_hidden_layers))
        yield TowerGroup("layers.{}.", layers, tuple(self._layer()))
        if self.output_size is not None:
            yield TowerGroup("", (), (
                *dense("out", self.output_size, width, part, bias=True),
                *dense("out_mid", width, self.output_size, part, bias=True),
            ))  # fmt: skip

    def _layer(self) -> Iterator[ParamTensor]:
        part, width = self.component, self.hidden_size
        inner = self.num_attention_heads * self.head_dim
        for name in ("ff1", "ff2"):
            yield from norm(f"{name}.norm", "layernorm", width, part)
            yield from dense(f"{name}.up_proj", self.intermediate_size, width, part, bias=True)
            yield from dense(f"{name}.down_proj", width, self.intermediate_size, part, bias=True)
        yield from norm("attention.norm", "layernorm", width, part)
        for side in ("q", "k", "v", "o"):
            shape = (width, inner) if side == "o" else (inner, width)
            bias = side in self.attention_bias
            yield from dense(f"attention.{side}_proj", *shape, part, bias=bias)
        if self.relative_positions is not None:
            table = (self.relative_positions, self.head_dim)
            yield ParamTensor("attention.rel_pos_emb.weight", table, part)
        channels = self.conv_expansion * width
        yield from norm("conv.norm", "layernorm", width, part)
        yield from conv("conv.up_conv", (2 * channels, width, 1), part, bias=True)
        yield from conv("conv.depth_conv", (channels, 1, self.conv_kernel_size), part)
        yield from norm("conv.batch_norm", "layernorm", channels, part)
        for name in ("running_mean", "running_var"):
            yield ParamTensor(f"conv.batch_norm.{name}", (channels,), part, buffer=True)
        yield from conv("conv.down_conv", (width, channels, 1), part, bias=True)
        yield from norm("post_norm", "layernorm", width, part)
