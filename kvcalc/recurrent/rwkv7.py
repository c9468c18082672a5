"""RWKV-7 (Goose) time mixing: a matrix per head and the last token's input; no per-token cache.

Equation (Peng et al. 2025, RWKV-7, arXiv 2503.14456: the state of a head is S_t = S_(t-1)
(diag(w_t) - k'_t^T (a_t * k'_t)) + v_t^T k_t). Elements kept per sequence and layer:

    d  +  h * d_h * d_h

    d  hidden_size    h  num_heads    d_h  head_dim

Stored: the matrix of each head (fp32 unless ``state_dtype`` says otherwise), and the last token's
input, with which the next one is mixed (token shift), in the KV dtype. Not stored: keys and values;
the first layer's value, which later layers mix in, lives only while its token is computed.
The channel mixing that follows has a token shift of its own: see kvcalc/ffn/rwkv_channel_mix.py.
The first layer has no value to mix in: official code makes its v0, v1 and v2 but never uses them,
and fla does not make them (``value_residual: false``).
Tensor parallelism divides heads; the token shift, its mixing weights and the first matrix of each
low-rank pair are whole on each rank.

Worked number: RWKV-7 with 24 layers, d = 1024, h = 16, d_h = 64, the channel mixing included:
24 * (2*1024 + 64*1024) = 1,622,016 elements (RWKV-LM README: 1.622016 M).

Reference code: BlinkDL/RWKV-LM RWKV-v7/rwkv_v7_demo.py (RWKV_Tmix_x070), whose low-rank matrices
are (in, out); fla layers/rwkv7.py, which has as many parameters under other names.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Scaled, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class Rwkv7:
    """The time mixing of RWKV-7.

    Fields:
        kind: rwkv7.
        hidden_size: num_heads * head_dim; the model's hidden_size.
        num_heads: heads (h).
        head_dim: width of a head (d_h); 64 in the released models.
        decay_low_rank_dim: rank of the decay (w).
        a_low_rank_dim: rank of the in-context learning rate (a).
        v_low_rank_dim: rank of the mixing with the first layer's value (v).
        gate_low_rank_dim: rank of the output gate (g).
        value_residual: the layer mixes in the first layer's value; false for the first layer.
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["rwkv7"]
    hidden_size: Scaled
    num_heads: Heads
    head_dim: Width
    decay_low_rank_dim: Scaled
    a_low_rank_dim: Scaled
    v_low_rank_dim: Scaled
    gate_low_rank_dim: Scaled
    value_residual: bool = True
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.num_heads * self.head_dim != self.hidden_size:
            yield (
                "num_heads",
                f"{self.num_heads} heads of {self.head_dim} do not make up {self.hidden_size}",
            )

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads = self.num_heads
        inner = heads * self.head_dim
        by_head, last_by_head = split(0, inner, heads), split(2, inner, heads)
        for letter in "rwkvag":
            yield ParamTensor(f"x_{letter}", (1, 1, hidden_size), "recurrent")
        low_rank = [("w", self.decay_low_rank_dim), ("a", self.a_low_rank_dim)]
        if self.value_residual:
            low_rank.append(("v", self.v_low_rank_dim))
        low_rank.append(("g", self.gate_low_rank_dim))
        for letter, rank in low_rank:
            if letter != "g":
                yield ParamTensor(f"{letter}0", (1, 1, inner), "recurrent", last_by_head)
            yield ParamTensor(f"{letter}1", (hidden_size, rank), "recurrent")
            yield ParamTensor(f"{letter}2", (rank, inner), "recurrent", split(1, inner, heads))
        for name in ("k_k", "k_a"):
            yield ParamTensor(name, (1, 1, inner), "recurrent", last_by_head)
        yield ParamTensor("r_k", (heads, self.head_dim), "recurrent", split(0, heads))
        for name in ("receptance", "key", "value"):
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
            title="RWKV-7 time mixing",
            symbols=(
                Symbol("d", "hidden_size", self.hidden_size, "input width"),
                Symbol("h", "num_heads", self.num_heads, "heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
            ),
            source="Peng et al. 2025, arXiv 2503.14456; BlinkDL/RWKV-LM RWKV-v7/rwkv_v7_demo.py",
            stored=f"a matrix per head ({self.state_dtype}) and the last token's input",
            not_stored="anything per token",
            fixed="d + h * d_h * d_h",
        )
