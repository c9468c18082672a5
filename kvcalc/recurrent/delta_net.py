"""DeltaNet: a key-by-value matrix per head, corrected by the delta rule; no per-token cache.

Equation (Yang et al. 2024, arXiv 2406.06484, after Schlag et al. 2021, arXiv 2102.11174:
S_t = S_(t-1) (I - b_t k_t k_t^T) + b_t v_t k_t^T). Elements kept per sequence and layer:

    h * d_k * d_v  +  h * (2 * d_k + d_v) * (K - 1)

    h  num_heads    d_k  head_k_dim    d_v  head_v_dim    K  conv_size

Gated DeltaNet without the decay. Stored: the matrix S of each head (fp32 unless ``state_dtype`` says
otherwise), and the last K - 1 inputs of the convolutions over q, k and v, in the KV dtype. Not
stored: beta, the K-th column, which is the current token's (fla keeps K columns).
The config gives widths as factors of hidden_size: d_k = expand_k * hidden_size / num_heads.
Tensor parallelism divides heads.

Worked number: fla-hub/delta_net-1.3B-100B, h = 16, d_k = d_v = 128, K = 4, 24 layers:
24 * (16*128*128*4 + 6144*3*2) = 26,050,560 bytes a sequence.

Reference code: fla-org/flash-linear-attention fla/layers/delta_net.py (DeltaNet).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Taps, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class DeltaNet:
    """A DeltaNet mixer.

    Fields:
        kind: delta_net.
        num_heads: heads (h).
        head_k_dim: width of a query and key head (d_k).
        head_v_dim: width of a value head (d_v).
        conv_size: taps of the causal convolutions over q, k and v (K).
        use_gate: the norm's output is gated by a projection of the input.
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["delta_net"]
    num_heads: Heads
    head_k_dim: Width
    head_v_dim: Width
    conv_size: Taps
    use_gate: bool = False
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    @property
    def _widths(self) -> tuple[tuple[str, int], ...]:
        keys, values = self.num_heads * self.head_k_dim, self.num_heads * self.head_v_dim
        return ("q", keys), ("k", keys), ("v", values)

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a DeltaNet layer."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads, kernel = self.num_heads, self.conv_size
        values = heads * self.head_v_dim
        for name, width in self._widths:
            by_head = split(0, width, heads)
            yield from linear(f"{name}_proj", width, hidden_size, "recurrent", shard=by_head)
            yield ParamTensor(f"{name}_conv1d.weight", (width, 1, kernel), "recurrent", by_head)
        yield from linear("b_proj", heads, hidden_size, "recurrent", shard=split(0, heads))
        if self.use_gate:
            yield from linear(
                "g_proj", values, hidden_size, "recurrent", shard=split(0, values, heads)
            )
        yield ParamTensor("o_norm.weight", (self.head_v_dim,), "recurrent")
        yield from linear("o_proj", hidden_size, values, "recurrent", shard=split(1, values, heads))

    def cache(self) -> Iterator[CacheTensor]:
        """The convolutions' columns and each head's matrix, once per sequence."""
        heads = self.num_heads
        for name, width in self._widths:
            yield CacheTensor(f"{name}_conv_state", (width, self.conv_size - 1), ONCE, "conv",
                              split(0, width, heads), row_axis=0)  # fmt: skip
        yield CacheTensor("recurrent_state", (heads, self.head_k_dim, self.head_v_dim), ONCE,
                          "state", split(0, heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="DeltaNet",
            symbols=(
                Symbol("h", "num_heads", self.num_heads, "heads"),
                Symbol("d_k", "head_k_dim", self.head_k_dim, "key head width"),
                Symbol("d_v", "head_v_dim", self.head_v_dim, "value head width"),
                Symbol("K", "conv_size", self.conv_size, "convolution taps"),
            ),
            source="Yang et al. 2024, arXiv 2406.06484; fla-org/flash-linear-attention "
            "fla/layers/delta_net.py",
            stored=f"a matrix per head ({self.state_dtype}) and K - 1 columns of the convolutions",
            not_stored="anything per token",
            fixed="h * d_k * d_v + h * (2 * d_k + d_v) * (K - 1)",
        )
