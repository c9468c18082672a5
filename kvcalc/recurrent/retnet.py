"""Retention (RetNet): linear attention with a fixed decay per head; no per-token cache.

Equation (Sun et al. 2023, arXiv 2307.08621, equation 6: S_n = g S_(n-1) + K_n^T V_n). Elements kept
per sequence and layer, whatever its length:

    h * d_k * d_v

    h  num_heads    d_k  head_k_dim    d_v  head_v_dim, twice d_k in the paper

Stored: the matrix S of each head (fp32 unless ``state_dtype`` says otherwise). Not stored: the
decays, which are fixed, and torchscale's running scale, which is the same for every sequence.
Tensor parallelism divides heads.

Worked number: RetNet-6.7B, h = 16, d_k = 256, d_v = 512, 32 layers:
32 * 16*256*512 * 4 = 268,435,456 bytes.

Reference code: microsoft/torchscale component/multiscale_retention.py; fla
layers/multiscale_retention.py, whose normalization has a weight of d_v.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class RetNet:
    """A multi-scale retention mixer.

    Fields:
        kind: retnet.
        num_heads: heads (h).
        head_k_dim: width of a query and key head (d_k).
        head_v_dim: width of a value head (d_v).
        norm_weight: the normalization of each head's output has a weight (fla; not torchscale).
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["retnet"]
    num_heads: Heads
    head_k_dim: Width
    head_v_dim: Width
    norm_weight: bool = False
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a retention layer."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads = self.num_heads
        keys, values = heads * self.head_k_dim, heads * self.head_v_dim
        for name, width in (
            ("q_proj", keys), ("k_proj", keys), ("v_proj", values), ("g_proj", values),
        ):  # fmt: skip
            yield from linear(name, width, hidden_size, "recurrent", shard=split(0, width, heads))
        if self.norm_weight:
            yield ParamTensor("group_norm.weight", (self.head_v_dim,), "recurrent")
        yield from linear("out_proj", hidden_size, values, "recurrent",
                          shard=split(1, values, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Each head's matrix, once per sequence."""
        yield CacheTensor("kv_state", (self.num_heads, self.head_k_dim, self.head_v_dim), ONCE,
                          "state", split(0, self.num_heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="multi-scale retention",
            symbols=(
                Symbol("h", "num_heads", self.num_heads, "heads"),
                Symbol("d_k", "head_k_dim", self.head_k_dim, "key head width"),
                Symbol("d_v", "head_v_dim", self.head_v_dim, "value head width"),
            ),
            source="Sun et al. 2023, arXiv 2307.08621, equation 6; microsoft/torchscale",
            stored=f"a matrix per head ({self.state_dtype})",
            not_stored="anything per token",
            fixed="h * d_k * d_v",
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {"num_heads": 16, "head_k_dim": 256, "head_v_dim": 512}
