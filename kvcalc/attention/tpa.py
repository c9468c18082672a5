"""TPA, tensor product attention (T6): keys and values kept as factors over heads and over channels.

Equation (Zhang et al. 2025, arXiv 2501.06425, section 3 and Table 1). K of a token is the mean over
R_K of a_r outer b_r, with a_r of width h and b_r of width d_h; V likewise with R_V. Elements kept
per cached position of one layer:

    (R_K + R_V) * (h + d_h)        contextual, also when only K and V are factored (q_rank: null)
    (R_K + R_V) * d_h              noncontextual_a: the head factors are weights
    (R_K + R_V) * h                noncontextual_b: the channel factors are weights

    R_K  rank    R_V  v_rank, or rank    h  num_attention_heads    d_h  head_dim

Stored: factors A (over heads) and B (over channels), B of the keys after its rotary embedding. Not
stored: keys and values, queries, and factors that do not depend on the token. For h > d_h the head
factors, which are often forgotten, are the larger part.
Tensor parallelism divides A by heads and replicates B.

Worked number: T6-medium, h = 47, d_h = 64, R_K = R_V = 2: 4 * (47 + 64) = 444 elements, where
multi-head attention with as many heads keeps 6,016.

Reference code: tensorgi/TPA model/T6.py (CPLinear), model/T6_kvonly.py, and model/T6_infer.py,
whose cache is the four factors. No code is published for the non-contextual variants; their
weights here are those that Table 1 counts.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Factors, Heads, Width
from kvcalc.dtypes import Role
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class TensorProductAttention:
    """Tensor product attention.

    Fields:
        kind: tpa.
        num_attention_heads: heads; queries, keys and values all have as many.
        head_dim: width of a head.
        rank: factor pairs of a key (R_K).
        v_rank: factor pairs of a value (R_V); rank when absent.
        q_rank: factor pairs of a query; null when queries are projected directly (KV-only).
        factors: contextual (both depend on the token), noncontextual_a (the head factors are
            weights) or noncontextual_b (the channel factors are weights).
        using_groupnorm: an RMSNorm over each head's output.
    """

    kind: Literal["tpa"]
    num_attention_heads: Heads
    head_dim: Width
    rank: Factors
    q_rank: Factors | None
    v_rank: Factors | None = None
    factors: Literal["contextual", "noncontextual_a", "noncontextual_b"] = "contextual"
    using_groupnorm: bool = False

    @property
    def value_rank(self) -> int:
        return self.rank if self.v_rank is None else self.v_rank

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        for field in ("rank", "v_rank"):
            rank = getattr(self, field)
            if rank is not None and rank > self.num_attention_heads:
                yield field, f"more factors than the {self.num_attention_heads} heads save nothing"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, width = self.num_attention_heads, self.head_dim
        ranks = {"q": self.q_rank, "k": self.rank, "v": self.value_rank}
        out_dim = heads * width
        for side, rank in ranks.items():
            if rank is None:
                yield from linear("c_qkv.c_q", out_dim, hidden_size, "attention",
                                  shard=split(0, out_dim, heads))  # fmt: skip
            elif self.factors == "noncontextual_a":
                yield ParamTensor(f"c_qkv.A_{side}", (heads, rank), "attention", split(0, heads))
            else:
                yield from linear(f"c_qkv.W_A_{side}", heads * rank, hidden_size, "attention",
                                  shard=split(0, heads * rank, heads))  # fmt: skip
        for side, rank in ranks.items():
            if rank is None:
                continue
            if self.factors == "noncontextual_b":
                yield ParamTensor(f"c_qkv.B_{side}", (rank, width), "attention")
            else:
                yield from linear(f"c_qkv.W_B_{side}", rank * width, hidden_size, "attention")
        if self.using_groupnorm:
            yield ParamTensor("subln.weight", (width,), "attention")
        yield from linear("c_proj", hidden_size, out_dim, "attention",
                          shard=split(1, out_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        heads, width = self.num_attention_heads, self.head_dim
        sides: tuple[tuple[Role, int], ...] = (("key", self.rank), ("value", self.value_rank))
        for role, rank in sides:
            if self.factors != "noncontextual_a":
                yield CacheTensor(f"{role}_a", (heads, rank), EVERY_TOKEN, role, split(0, heads))
            if self.factors != "noncontextual_b":
                yield CacheTensor(f"{role}_b", (rank, width), EVERY_TOKEN, role)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        h = Symbol("h", "num_attention_heads", self.num_attention_heads, "heads")
        d_h = Symbol("d_h", "head_dim", self.head_dim, "head width")
        equation, widths = {
            "contextual": ("(R_K + R_V) * (h + d_h)", (h, d_h)),
            "noncontextual_a": ("(R_K + R_V) * d_h", (d_h,)),
            "noncontextual_b": ("(R_K + R_V) * h", (h,)),
        }[self.factors]
        return Explanation(
            title="tensor product attention",
            symbols=(
                Symbol("R_K", "rank", self.rank, "factor pairs of a key"),
                Symbol("R_V", "v_rank", self.value_rank, "factor pairs of a value"),
                *widths,
            ),
            source="Zhang et al. 2025, arXiv 2501.06425, Table 1; tensorgi/TPA model/T6_infer.py",
            stored="the factors of K and V that depend on the token",
            not_stored="keys and values, which are the factors' products; queries",
            per_position=equation,
            positions=str(EVERY_TOKEN),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {"num_attention_heads": 47, "head_dim": 64, "rank": 2, "v_rank": 2, "q_rank": 6}
