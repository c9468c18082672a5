"""MFA, multi-matrix factorization attention (Step-3): many wide query heads, one key, one value.

Equation (Hu et al. 2024, arXiv 2412.19255). Elements kept per cached position:

    2 * C         MFA: one key and one value for all heads
    C             MFA-KR (``reuse_key``): the value is made from the key

    C  head_dim (wide: 256 in Step-3)

Stored: the key after its rotary embedding, and the value. Not stored: queries, which are low-rank
(hidden_size -> share_q_dim -> heads * C). MFA-KR stores only the key and makes the value as
K + alpha * (N K), with a square matrix N and a vector alpha of weights.
Tensor parallelism replicates both; it divides the query heads.

Worked number: Step-3, C = 256, 61 layers: 2 * 256 * 61 = 31,232 elements a token; with one-byte
keys and values 8,192 tokens read 2.56e8 bytes, as in Table 2 of the Step-3 report.

Reference code: stepfun-ai/step3 modeling_step3.py; vLLM model_executor/models/step3_text.py
(Step3TextAttention). None is published for MFA-KR; its weights here are the paper's N and alpha.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, linear, split, split_kv_heads


@frozen(kw_only=True)
class MultiMatrixFactorizationAttention:
    """Multi-matrix factorization attention.

    Fields:
        kind: mfa.
        num_attention_heads: query heads; all share the one key and the one value.
        head_dim: width of a query head, of the key and of the value (C).
        share_q_dim: width of the query latent.
        reuse_key: the value is made from the key and is not stored (MFA-KR).
    """

    kind: Literal["mfa"]
    num_attention_heads: Heads
    head_dim: Width
    share_q_dim: Width
    reuse_key: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, width = self.num_attention_heads, self.head_dim
        query_dim = heads * width
        yield from linear("q_proj", self.share_q_dim, hidden_size, "attention")
        yield from linear("k_proj", width, hidden_size, "attention")
        if self.reuse_key:
            yield ParamTensor("N", (width, width), "attention")
            yield ParamTensor("alpha", (width,), "attention")
        else:
            yield from linear("v_proj", width, hidden_size, "attention")
        yield ParamTensor("inter_norm.weight", (self.share_q_dim,), "attention")
        yield from linear("wq", query_dim, self.share_q_dim, "attention",
                          shard=split(0, query_dim, heads))  # fmt: skip
        yield from linear("o_proj", hidden_size, query_dim, "attention",
                          shard=split(1, query_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        shape, shard = (1, self.head_dim), split_kv_heads(0, 1, 1)
        yield CacheTensor("key", shape, EVERY_TOKEN, "key", shard, token_axis=1)
        if not self.reuse_key:
            yield CacheTensor("value", shape, EVERY_TOKEN, "value", shard, token_axis=1)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        reuse = self.reuse_key
        return Explanation(
            title="multi-matrix factorization attention" + (" with key reuse" if reuse else ""),
            symbols=(Symbol("C", "head_dim", self.head_dim, "width of the one key"),),
            source="Hu et al. 2024, arXiv 2412.19255; vLLM model_executor/models/step3_text.py",
            stored="one key for all heads" if reuse else "one key and one value for all heads",
            not_stored="the value, which is made from the key; queries" if reuse else "queries",
            per_position="C" if reuse else "2 * C",
            positions=str(EVERY_TOKEN),
        )
