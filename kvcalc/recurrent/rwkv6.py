"""RWKV-6 (Finch) time mixing: a matrix per head and the last token's input; no per-token cache.

Equation (Peng et al. 2024, Eagle and Finch, arXiv 2404.05892, section 4.2: the state of a head is
S_t = diag(w_t) S_(t-1) + k_t^T v_t). Elements kept per sequence and layer, whatever its length:

    d  +  h * d_h * d_h

    d  hidden_size    h  num_heads    d_h  head_dim

Stored: the matrix of each head (fp32 unless ``state_dtype`` says otherwise), and the last token's
input, with which the next one is mixed (token shift), in the KV dtype. Not stored: keys and values.
The channel mixing that follows has a token shift of its own: see kvcalc/ffn/rwkv_channel_mix.py.
Tensor parallelism divides heads; the token shift, its mixing weights and the first matrix of each
low-rank pair are whole on each rank.

Worked number: RWKV-6-World-7B, d = 4096, h = 64, d_h = 64, 32 layers, the channel mixing included:
32 * (64*64*64*4 + 2 * 4096*2) = 34,078,720 bytes.

Reference code: BlinkDL/RWKV-LM RWKV-v5/src/model.py (RWKV_Tmix_x060), whose low-rank matrices are
(in, out); fla layers/rwkv6.py, which has as many parameters under other names.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Scaled, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class Rwkv6:
    """The time mixing of RWKV-6.

    Fields:
        kind: rwkv6.
        hidden_size: width of the token shift; the model's hidden_size.
        num_heads: heads (h).
        head_dim: width of a head (d_h); 64 in the released models.
        proj_low_rank_dim: rank of the token shift's data-dependent part: 32, in the 7B 64.
        gate_low_rank_dim: rank of the decay's data-dependent part: 64, in the 7B 128.
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["rwkv6"]
    hidden_size: Scaled
    num_heads: Heads
    head_dim: Width
    proj_low_rank_dim: Scaled
    gate_low_rank_dim: Scaled
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a time mixing."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads, mix, decay = self.num_heads, self.proj_low_rank_dim, self.gate_low_rank_dim
        inner = heads * self.head_dim
        by_head = split(0, inner, heads)
        for letter in "xwkvrg":
            yield ParamTensor(f"time_maa_{letter}", (1, 1, hidden_size), "recurrent")
        yield ParamTensor("time_maa_w1", (hidden_size, 5 * mix), "recurrent")
        yield ParamTensor("time_maa_w2", (5, mix, hidden_size), "recurrent")
        yield ParamTensor("time_decay", (1, 1, inner), "recurrent", split(2, inner, heads))
        yield ParamTensor("time_decay_w1", (hidden_size, decay), "recurrent")
        yield ParamTensor("time_decay_w2", (decay, inner), "recurrent", split(1, inner, heads))
        yield ParamTensor("time_faaaa", (heads, self.head_dim), "recurrent", split(0, heads))
        for name in ("receptance", "key", "value", "gate"):
            yield from linear(name, inner, hidden_size, "recurrent", shard=by_head)
        yield from linear("output", hidden_size, inner, "recurrent", shard=split(1, inner, heads))
        for name in ("ln_x.weight", "ln_x.bias"):
            yield ParamTensor(name, (inner,), "recurrent", by_head)

    def cache(self) -> Iterator[CacheTensor]:
        """The token shift and each head's matrix, once per sequence."""
        heads, width = self.num_heads, self.head_dim
        yield CacheTensor("token_shift", (self.hidden_size,), ONCE, "conv")
        yield CacheTensor("wkv_state", (heads, width, width), ONCE, "state",
                          split(0, heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="RWKV-6 time mixing",
            symbols=(
                Symbol("d", "hidden_size", self.hidden_size, "input width"),
                Symbol("h", "num_heads", self.num_heads, "heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
            ),
            source="Peng et al. 2024, arXiv 2404.05892, section 4.2; BlinkDL/RWKV-LM",
            stored=f"a matrix per head ({self.state_dtype}) and the last token's input",
            not_stored="anything per token",
            fixed="d + h * d_h * d_h",
        )
