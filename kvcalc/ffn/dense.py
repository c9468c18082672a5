"""The two-matrix feed-forward layer of the original transformer.

    y = W_2 act(W_1 x)          parameters: 2 * d * f, with biases + f + d

    d  hidden_size    f  intermediate_size

Source: Vaswani et al. 2017, arXiv 1706.03762, equation 2; xIELU: Huang and Schlag 2024,
arXiv 2411.13010 (reference code: transformers activations.py, XIELUActivation). No cache.
Worked number: GPT-2, d = 768, f = 3072, with biases: 4,722,432 a layer.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class DenseFeedForward:
    """Two matrices with an activation between them (GELU, ReLU, squared ReLU).

    Fields:
        kind: dense.
        intermediate_size: width between the two matrices.
        bias: both projections have biases.
        xielu: the activation is xIELU, which learns two scalars (Apertus).
    """

    kind: Literal["dense"]
    intermediate_size: Inner
    bias: bool = False
    xielu: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """A dense layer has nothing to contradict."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Both weight matrices and the activation's scalars; all belong to ``ffn``."""
        width = self.intermediate_size
        yield from linear(
            "up_proj", width, hidden_size, "ffn", bias=self.bias, shard=split(0, width)
        )
        yield from linear(
            "down_proj", hidden_size, width, "ffn", bias=self.bias, shard=split(1, width)
        )
        if self.xielu:
            yield ParamTensor("act_fn.alpha_p", (1,), "ffn")
            yield ParamTensor("act_fn.alpha_n", (1,), "ffn")

    def cache(self) -> Iterator[CacheTensor]:
        """A feed-forward layer keeps nothing."""
        yield from ()
