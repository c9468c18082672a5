"""Differential attention: the difference of two softmax maps; the cache is that of MHA or GQA.

Equation (Ye et al. 2024, arXiv 2410.05258, section 2.1: softmax(Q1 K1) - lambda * softmax(Q2 K2),
times V). Elements kept per cached position of one layer:

    2 * n_kv * d_h

    n_kv  num_key_value_heads, counted as DiffLlama does: K1 and K2 of a head are two of them, and
          so are the two halves of its value, which is 2 * d_h wide
    d_h   head_dim

A paper's layer of H heads with keys of d and values of 2d has num_key_value_heads = 2 * H here; it
keeps as much as multi-head attention of the same width.

Stored: both keys after their rotary embedding, and the value. Not stored: queries, scores, lambda
(four vectors of d_h: parameters, no cache).
Tensor parallelism divides pairs of heads, since the two maps of a pair are subtracted.

Worked number: DiffLlama's default configuration, 16 layers, n_kv = 32, d_h = 64, bf16:
16 * 2 * 32 * 64 * 2 = 131,072 bytes a token, as measured with transformers 5.23.

Reference code: transformers models/diffllama/modeling_diffllama.py; microsoft/unilm
Diff-Transformer, whose group norm has a weight.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, KVHeads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class DifferentialAttention:
    """Differential attention.

    Fields:
        kind: differential.
        num_attention_heads: query heads, both of a pair counted.
        num_key_value_heads: key heads, both of a pair counted, and as many value heads.
        head_dim: width of a query, key and value head.
        bias: which projections carry a bias.
        groupnorm_affine: the norm of a pair's output has a weight (paper's code; not DiffLlama).
    """

    kind: Literal["differential"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    bias: tuple[Literal["q", "k", "v", "o"], ...] = ()
    groupnorm_affine: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly"
        if kv_heads % 2:
            yield "num_key_value_heads", f"heads come in pairs, and {kv_heads} is odd"

    def _kv_shard(self, size: int) -> Shard:
        return Shard(0, (Part(size, self.num_key_value_heads // 2, replicate=True),))

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        pairs = self.num_attention_heads // 2
        query_dim = self.num_attention_heads * self.head_dim
        kv_dim = self.num_key_value_heads * self.head_dim
        yield from linear("q_proj", query_dim, hidden_size, "attention",
                          bias="q" in self.bias, shard=split(0, query_dim, pairs))  # fmt: skip
        yield from linear("k_proj", kv_dim, hidden_size, "attention",
                          bias="k" in self.bias, shard=self._kv_shard(kv_dim))  # fmt: skip
        yield from linear("v_proj", kv_dim, hidden_size, "attention",
                          bias="v" in self.bias, shard=self._kv_shard(kv_dim))  # fmt: skip
        yield from linear("o_proj", hidden_size, query_dim, "attention",
                          bias="o" in self.bias, shard=split(1, query_dim, pairs))  # fmt: skip
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            yield ParamTensor(name, (self.head_dim,), "attention")
        if self.groupnorm_affine:
            yield ParamTensor("groupnorm.weight", (2 * self.head_dim,), "attention")

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        shape = (self.num_key_value_heads, self.head_dim)
        shard = self._kv_shard(self.num_key_value_heads)
        yield CacheTensor("key", shape, EVERY_TOKEN, "key", shard, token_axis=1)
        yield CacheTensor("value", shape, EVERY_TOKEN, "value", shard, token_axis=1)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="differential attention",
            symbols=(
                Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
            ),
            source="Ye et al. 2024, arXiv 2410.05258, section 2.1; "
            "transformers models/diffllama/modeling_diffllama.py",
            stored="both keys of each pair (after their rotary embedding) and the value",
            not_stored="queries, attention scores, lambda",
            per_position="2 * n_kv * d_h",
            positions=str(EVERY_TOKEN),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
