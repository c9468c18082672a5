"""LAuReL, learned augmented residual layer: a low-rank map beside the residual connection.

Equation (Menghani, Kumar and Kumar 2024, arXiv 2411.07501, section 2.2, the low-rank variant; Gemma
3n adds the norm and averages the result with the attention's output):

    laurel(x) = x + RMSNorm(B A x)          parameters of a layer: 2 r d + d

    A  linear_left    B  linear_right    r  laurel_rank    d  hidden_size

Stored: nothing between decode steps. Tensor parallelism divides the rank (as vLLM does).

Worked number: Gemma-3n-E4B, r = 64, d = 2048: 264,192 a layer.

Reference code: transformers models/gemma3n (Gemma3nTextLaurelBlock).
"""

from collections.abc import Iterator

from kvcalc.counts import Scaled
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, linear, split


@frozen(kw_only=True)
class Laurel:
    """A low-rank residual map in every layer.

    Fields:
        laurel_rank: rank of the map (r).
    """

    laurel_rank: Scaled

    def check(self) -> Iterator[tuple[str, str]]:
        """A low-rank map has nothing to contradict."""
        yield from ()

    def layer_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The two thin matrices and their norm."""
        rank = self.laurel_rank
        yield from linear("laurel.linear_left", rank, hidden_size, "other", shard=split(0, rank))
        yield from linear("laurel.linear_right", hidden_size, rank, "other", shard=split(1, rank))
        yield ParamTensor("laurel.post_laurel_norm.weight", (hidden_size,), "norm")

    def model_parameters(self, hidden_size: int, num_layers: int) -> Iterator[ParamTensor]:
        """Nothing stands beside the layers."""
        yield from ()
