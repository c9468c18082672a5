"""Gated short convolution (LFM2): a causal convolution between two gates, and nothing else.

Equation (LFM2 technical report, arXiv 2511.23404: y = C * conv_K(B * x), with B, C and x projected
from the input). Elements kept per sequence and layer, whatever its length:

    d * (K - 1)

    d  hidden_size    K  conv_L_cache

Stored: the last K - 1 inputs of the convolution, in the KV dtype. Not stored: the gates, the K-th
column, which is the current token's (transformers keeps K columns). There is no recurrent state.
Tensor parallelism divides channels.

Worked number: LFM2-1.2B, d = 2048, K = 3, 10 such layers: 10 * 2048*2*2 = 81,920 bytes;
transformers 5.23 measured 122,880 with K = 3 columns, which is 10 * 2048 * 2 more.

Reference code: transformers models/lfm2/modeling_lfm2.py (Lfm2ShortConv).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner, Taps
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class ShortConv:
    """A gated short convolution.

    Fields:
        kind: short_conv.
        hidden_size: channels; the model's hidden_size.
        conv_L_cache: taps of the causal convolution (K).
        conv_bias: the convolution and both projections have biases.
    """

    kind: Literal["short_conv"]
    hidden_size: Inner
    conv_L_cache: Taps
    conv_bias: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a short convolution."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        width = self.hidden_size
        yield ParamTensor("conv.weight", (width, 1, self.conv_L_cache), "recurrent",
                          split(0, width))  # fmt: skip
        if self.conv_bias:
            yield ParamTensor("conv.bias", (width,), "recurrent", split(0, width))
        yield from linear("in_proj", 3 * width, hidden_size, "recurrent",
                          bias=self.conv_bias, shard=Shard(0, (Part(width, width),) * 3))  # fmt: skip
        yield from linear("out_proj", hidden_size, width, "recurrent",
                          bias=self.conv_bias, shard=split(1, width))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """The convolution's columns, once per sequence."""
        width = self.hidden_size
        yield CacheTensor("conv_state", (width, self.conv_L_cache - 1), ONCE, "conv",
                          split(0, width), row_axis=0)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="gated short convolution",
            symbols=(
                Symbol("d", "hidden_size", self.hidden_size, "channels"),
                Symbol("K", "conv_L_cache", self.conv_L_cache, "convolution taps"),
            ),
            source="LFM2 technical report, arXiv 2511.23404; transformers models/lfm2",
            stored="K - 1 columns of the convolution",
            not_stored="anything per token",
            fixed="d * (K - 1)",
        )
