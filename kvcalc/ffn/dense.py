"""The two-matrix feed-forward layer of the original transformer.

    y = W_2 act(W_1 x)          parameters: 2 * d * f, with biases + f + d

    d  hidden_size    f  intermediate_size

Source: Vaswani et al. 2017, arXiv 1706.03762, equation 2. No cache.
Worked number: GPT-2, d = 768, f = 3072, with biases: 4,722,432 a layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kvcalc.tensors import CacheTensor, ParamTensor, linear, split


@dataclass(frozen=True, kw_only=True)
class DenseFeedForward:
    """Two matrices with an activation between them (GELU, ReLU, squared ReLU).

    Fields:
        kind: dense.
        intermediate_size: width between the two matrices.
        bias: both projections have biases.
    """

    kind: Literal["dense"]
    intermediate_size: int
    bias: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """A dense layer has nothing to contradict."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Both weight matrices; all belong to ``ffn``."""
        width = self.intermediate_size
        yield from linear("up_proj", width, hidden_size, "ffn", bias=self.bias, shard=split(0, width))
        yield from linear(
            "down_proj", hidden_size, width, "ffn", bias=self.bias, shard=split(1, width)
        )

    def cache(self) -> Iterator[CacheTensor]:
        """A feed-forward layer keeps nothing."""
        yield from ()
