"""Gated DeltaNet: a key-by-value matrix per value head, a short convolution; no per-token cache.

Equation (Yang et al. 2024, Gated Delta Networks, arXiv 2412.06464, equation 10:
S_t = S_(t-1) (a_t (I - b_t k_t k_t^T)) + b_t v_t k_t^T). Elements kept per sequence and layer:

    h_v * d_k * d_v  +  (2 * h_k * d_k + h_v * d_v) * (K - 1)

    h_k  linear_num_key_heads      d_k  linear_key_head_dim      K  linear_conv_kernel_dim
    h_v  linear_num_value_heads    d_v  linear_value_head_dim

Stored: the matrix S of each value head (fp32 unless ``state_dtype`` says otherwise), and the last
K - 1 inputs of the convolution over q, k and v, in the KV dtype. Not stored: decay and beta, the
K-th column, which is the current token's (transformers keeps K columns).
Three layouts, one count: Qwen3-Next fuses ``in_proj_qkvz`` and ``in_proj_ba``; Qwen3.5, listed
here, has ``in_proj_qkv``, ``in_proj_z``, ``in_proj_b`` and ``in_proj_a``; OLMo-Hybrid has one
projection for each of q, k, v, gate, a and b. The parameters are as many in all three.
Tensor parallelism divides key heads and value heads; a key head is not copied, so there can be no
more ranks than key heads.

Worked number: Qwen3-Next-80B, h_k = 16, h_v = 32, d_k = d_v = 128, K = 4, 36 such layers:
36 * (32*128*128*4 + 8192*3*2) = 77,266,944 bytes; transformers 5.23 measured 77,856,768 with K = 4
columns, which is 36 * 8192 * 2 more.

Reference code: transformers models/qwen3_next, models/qwen3_5, models/olmo_hybrid.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Taps, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class GatedDeltaNet:
    """A Gated DeltaNet mixer.

    Fields:
        kind: gated_deltanet.
        linear_num_key_heads: query and key heads (h_k).
        linear_num_value_heads: value heads, each with a state of its own (h_v).
        linear_key_head_dim: width of a query or key head (d_k).
        linear_value_head_dim: width of a value head (d_v).
        linear_conv_kernel_dim: taps of the causal convolution over q, k and v (K).
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["gated_deltanet"]
    linear_num_key_heads: Heads
    linear_num_value_heads: Heads
    linear_key_head_dim: Width
    linear_value_head_dim: Width
    linear_conv_kernel_dim: Taps
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    @property
    def key_size(self) -> int:
        return self.linear_num_key_heads * self.linear_key_head_dim

    @property
    def value_size(self) -> int:
        return self.linear_num_value_heads * self.linear_value_head_dim

    @property
    def conv_size(self) -> int:
        return 2 * self.key_size + self.value_size

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        key_heads, value_heads = self.linear_num_key_heads, self.linear_num_value_heads
        if value_heads % key_heads:
            yield (
                "linear_num_value_heads",
                f"{value_heads} value heads cannot share {key_heads} key heads evenly",
            )

    def _conv_shard(self) -> Shard:
        keys = Part(self.key_size, self.linear_num_key_heads)
        return Shard(0, (keys, keys, Part(self.value_size, self.linear_num_value_heads)))

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads, values = self.linear_num_value_heads, self.value_size
        for name in ("dt_bias", "A_log"):
            yield ParamTensor(name, (heads,), "recurrent", split(0, heads))
        by_head = self._conv_shard()
        kernel = self.linear_conv_kernel_dim
        yield ParamTensor("conv1d.weight", (self.conv_size, 1, kernel), "recurrent", by_head)
        yield from linear("in_proj_qkv", self.conv_size, hidden_size, "recurrent", shard=by_head)
        yield from linear(
            "in_proj_z", values, hidden_size, "recurrent", shard=split(0, values, heads)
        )
        for name in ("in_proj_b", "in_proj_a"):
            yield from linear(name, heads, hidden_size, "recurrent", shard=split(0, heads))
        yield ParamTensor("norm.weight", (self.linear_value_head_dim,), "recurrent")
        yield from linear(
            "out_proj", hidden_size, values, "recurrent", shard=split(1, values, heads)
        )

    def cache(self) -> Iterator[CacheTensor]:
        """The convolution's columns and each value head's matrix, once per sequence."""
        heads, kernel = self.linear_num_value_heads, self.linear_conv_kernel_dim
        yield CacheTensor("conv_state", (self.conv_size, kernel - 1), ONCE, "conv",
                          self._conv_shard(), row_axis=0)  # fmt: skip
        yield CacheTensor("recurrent_state",
                          (heads, self.linear_key_head_dim, self.linear_value_head_dim), ONCE,
                          "state", split(0, heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="gated DeltaNet",
            symbols=(
                Symbol("h_k", "linear_num_key_heads", self.linear_num_key_heads, "key heads"),
                Symbol("h_v", "linear_num_value_heads", self.linear_num_value_heads, "value heads"),
                Symbol("d_k", "linear_key_head_dim", self.linear_key_head_dim, "key head width"),
                Symbol(
                    "d_v", "linear_value_head_dim", self.linear_value_head_dim, "value head width"
                ),
                Symbol(
                    "K", "linear_conv_kernel_dim", self.linear_conv_kernel_dim, "convolution taps"
                ),
            ),
            source="Yang et al. 2024, arXiv 2412.06464, equation 10; transformers "
            "models/qwen3_next",
            stored=f"a matrix per value head ({self.state_dtype}) and K - 1 columns of the "
            "convolution",
            not_stored="anything per token",
            fixed="h_v * d_k * d_v + (2 * h_k * d_k + h_v * d_v) * (K - 1)",
        )
