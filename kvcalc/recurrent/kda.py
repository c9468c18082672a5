"""KDA, Kimi Delta Attention: gated DeltaNet with a decay per channel; no per-token cache.

Equation (Kimi Linear report, arXiv 2510.26692, equation 1:
S_t = (I - b_t k_t k_t^T) Diag(a_t) S_(t-1) + b_t k_t v_t^T). Elements kept per sequence and layer:

    h * d_h * d_h  +  3 * h * d_h * (K - 1)

    h  num_heads    d_h  head_dim    K  short_conv_kernel_size

Stored: the matrix S of each head (fp32 unless ``state_dtype`` says otherwise), and the last K - 1
inputs of the convolutions over q, k and v, in the KV dtype. Not stored: decay, beta and gate, the
K-th column, which is the current token's (transformers keeps K columns).
The decay and the output gate are made by a pair of matrices of rank d_h. Kimi K3 has one full
matrix for the gate (``full_rank_gate``), Ling's hybrid for both (``full_rank_decay``). Kimi K3's
checkpoint pads A_log from 96 to 128 entries; the module has one per head, and so counts it here.
Tensor parallelism divides heads; the first matrix of each low-rank pair is held whole.

Worked number: Kimi-Linear-48B, h = 32, d_h = 128, K = 4, 20 such layers:
20 * (32*128*128*4 + 12288*3*2) = 43,417,600 bytes; transformers 5.23 measured 43,909,120 with K = 4
columns, which is 20 * 12288 * 2 more.

Reference code: transformers models/kimi_linear, models/bailing_hybrid; fla layers/kda.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Taps, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class KimiDeltaAttention:
    """A Kimi Delta Attention mixer; the fields are those of the config's linear_attn_config.

    Fields:
        kind: kda.
        num_heads: heads (h).
        head_dim: width of a query, key and value head (d_h).
        short_conv_kernel_size: taps of the causal convolutions over q, k and v (K).
        full_rank_gate: one matrix makes the output gate, not a pair of rank head_dim (Kimi K3).
        full_rank_decay: one matrix makes the decay, not a pair of rank head_dim (Ling hybrid).
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["kda"]
    num_heads: Heads
    head_dim: Width
    short_conv_kernel_size: Taps
    full_rank_gate: bool = False
    full_rank_decay: bool = False
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    @property
    def inner_size(self) -> int:
        return self.num_heads * self.head_dim

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a KDA layer."""
        yield from ()

    def _conv_shard(self) -> Shard:
        return Shard(0, (Part(self.inner_size, self.num_heads),) * 3)

    def _gate(
        self, low_rank: tuple[str, str], full: str | None, hidden_size: int
    ) -> Iterator[ParamTensor]:
        """A projection to every channel: one matrix named ``full``, or a pair of rank head_dim."""
        by_head = split(0, self.inner_size, self.num_heads)
        if full is not None:
            yield from linear(full, self.inner_size, hidden_size, "recurrent", shard=by_head)
            return
        first, second = low_rank
        yield from linear(first, self.head_dim, hidden_size, "recurrent")
        yield from linear(second, self.inner_size, self.head_dim, "recurrent", shard=by_head)

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        inner, heads = self.inner_size, self.num_heads
        by_head = split(0, inner, heads)
        for name in ("q_proj", "k_proj", "v_proj"):
            yield from linear(name, inner, hidden_size, "recurrent", shard=by_head)
        yield ParamTensor("conv1d.weight", (3 * inner, 1, self.short_conv_kernel_size),
                          "recurrent", self._conv_shard())  # fmt: skip
        yield from self._gate(
            ("forget_gate.f_a_proj", "forget_gate.f_b_proj"),
            "forget_gate.f_proj" if self.full_rank_decay else None,
            hidden_size,
        )
        yield ParamTensor("forget_gate.dt_bias", (inner,), "recurrent", by_head)
        yield ParamTensor("forget_gate.A_log", (1, 1, heads, 1), "recurrent", split(2, heads))
        yield from linear("b_proj", heads, hidden_size, "recurrent", shard=split(0, heads))
        yield from self._gate(
            ("g_a_proj", "g_b_proj"), "g_proj" if self.full_rank_gate else None, hidden_size
        )
        yield ParamTensor("o_norm.weight", (self.head_dim,), "recurrent")
        yield from linear("o_proj", hidden_size, inner, "recurrent", shard=split(1, inner, heads))

    def cache(self) -> Iterator[CacheTensor]:
        """The convolutions' columns and each head's matrix, once per sequence."""
        width, kernel = self.head_dim, self.short_conv_kernel_size
        yield CacheTensor("conv_state", (3 * self.inner_size, kernel - 1), ONCE, "conv",
                          self._conv_shard(), row_axis=0)  # fmt: skip
        yield CacheTensor("recurrent_state", (self.num_heads, width, width), ONCE, "state",
                          split(0, self.num_heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="Kimi delta attention",
            symbols=(
                Symbol("h", "num_heads", self.num_heads, "heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
                Symbol(
                    "K", "short_conv_kernel_size", self.short_conv_kernel_size, "convolution taps"
                ),
            ),
            source="Kimi Linear, arXiv 2510.26692, equation 1; transformers models/kimi_linear",
            stored=f"a matrix per head ({self.state_dtype}) and K - 1 columns of the convolutions",
            not_stored="anything per token",
            fixed="h * d_h * d_h + 3 * h * d_h * (K - 1)",
        )
