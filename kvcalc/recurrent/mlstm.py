"""mLSTM: an LSTM with a matrix memory per head; no per-token cache.

Equation (Beck et al. 2024, xLSTM, arXiv 2405.04517, equations 19 to 27: C_t = f_t C_(t-1) +
i_t v_t k_t^T, n_t = f_t n_(t-1) + i_t k_t, m_t the stabilizer; xLSTM 7B, arXiv 2503.13427).
Elements kept per sequence and layer, whatever its length:

    n_h * (d_qk * d_v + d_qk + 1)

    n_h  num_heads    d_qk  qk_head_dim    d_v  v_head_dim

Stored: the memory C, the normalizer n and the stabilizer m of each head (fp32 unless
``state_dtype`` says otherwise; transformers' cache object allocates them in the model's dtype). Not
stored: the gates.
Tensor parallelism divides heads.

Worked number: xLSTM-7B, n_h = 8, d_qk = 256, d_v = 512, 32 layers: 32*8*(256*512 + 256 + 1) =
33,620,224 elements; transformers 5.23 measured 67,240,448 bytes in bf16.

Reference code: transformers models/xlstm/modeling_xlstm.py (xLSTMLayer); NX-AI/xlstm.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class Mlstm:
    """An mLSTM mixer as in xLSTM-7B.

    Fields:
        kind: mlstm.
        num_heads: heads (n_h).
        qk_head_dim: width of a query and key head (d_qk).
        v_head_dim: width of a value head (d_v).
        use_bias: the projections and the norm have biases; the input and forget gates always have.
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["mlstm"]
    num_heads: Heads
    qk_head_dim: Width
    v_head_dim: Width
    use_bias: bool = False
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make an mLSTM layer."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads, bias = self.num_heads, self.use_bias
        keys, values = heads * self.qk_head_dim, heads * self.v_head_dim
        for name, width in (
            ("q", keys), ("k", keys), ("v", values), ("ogate_preact", values),
        ):  # fmt: skip
            yield from linear(name, width, hidden_size, "recurrent",
                              bias=bias, shard=split(0, width, heads))  # fmt: skip
        for name in ("igate_preact", "fgate_preact"):
            yield from linear(name, heads, hidden_size, "recurrent",
                              bias=True, shard=split(0, heads))  # fmt: skip
        by_head = split(0, values, heads)
        yield ParamTensor("multihead_norm.weight", (values,), "recurrent", by_head)
        if bias:
            yield ParamTensor("multihead_norm.bias", (values,), "recurrent", by_head)
        yield from linear("out_proj", hidden_size, values, "recurrent",
                          bias=bias, shard=split(1, values, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Each head's memory, normalizer and stabilizer, once per sequence."""
        heads, d_qk = self.num_heads, self.qk_head_dim
        for name, shape in (
            ("memory", (heads, d_qk, self.v_head_dim)),
            ("normalizer", (heads, d_qk)),
            ("stabilizer", (heads, 1)),
        ):
            yield CacheTensor(name, shape, ONCE, "state", split(0, heads), dtype=self.state_dtype)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="mLSTM",
            symbols=(
                Symbol("n_h", "num_heads", self.num_heads, "heads"),
                Symbol("d_qk", "qk_head_dim", self.qk_head_dim, "key head width"),
                Symbol("d_v", "v_head_dim", self.v_head_dim, "value head width"),
            ),
            source="Beck et al. 2024, arXiv 2405.04517, equations 19 to 27; xLSTM 7B, "
            "arXiv 2503.13427",
            stored=f"memory, normalizer and stabilizer of each head ({self.state_dtype})",
            not_stored="anything per token",
            fixed="n_h * (d_qk * d_v + d_qk + 1)",
        )
