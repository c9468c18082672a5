"""The gated feed-forward layer: SwiGLU, GeGLU and their like.

    y = W_down (act(W_gate x) * W_up x)          parameters: 3 * d * f, with biases + 2 f + d

    d  hidden_size    f  intermediate_size

Source: Shazeer 2020, GLU Variants Improve Transformer, arXiv 2002.05202, equation 6. No cache.
A fused ``gate_up_proj`` of [2 f, d] counts the same.
Worked number: Llama-3-8B, d = 4096, f = 14336: 176,160,768 a layer.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class GatedFeedForward:
    """Gate and up projections multiplied elementwise, then a down projection.

    Fields:
        kind: gated.
        intermediate_size: width of each of gate and up.
        bias: all three projections have biases.
        down_bias: the down projection alone has one (GTE).
        sub_norm: a norm over the inner width, before the down projection (BitNet b1.58).
    """

    kind: Literal["gated"]
    intermediate_size: Inner
    bias: bool = False
    down_bias: bool = False
    sub_norm: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.bias and self.down_bias:
            yield "down_bias", "with bias, all three projections have one"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The three weight matrices and the inner norm; all belong to ``ffn``."""
        width = self.intermediate_size
        for name in ("gate_proj", "up_proj"):
            yield from linear(
                name, width, hidden_size, "ffn", bias=self.bias, shard=split(0, width)
            )
        yield from linear(
            "down_proj",
            hidden_size,
            width,
            "ffn",
            bias=self.bias or self.down_bias,
            shard=split(1, width),
        )
        if self.sub_norm:
            yield ParamTensor("ffn_sub_norm.weight", (width,), "ffn", split(0, width))

    def cache(self) -> Iterator[CacheTensor]:
        """A feed-forward layer keeps nothing."""
        yield from ()
