"""Cross-attention: keys and values of the encoder's tokens, kept once for the whole decode.

Equation (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.3; T5, arXiv 1910.10683). Elements kept
per encoder token of one decoder layer:

    2 * n_kv * d_h

    n_kv  num_key_value_heads    d_h  head_dim (T5: d_kv, not d_model / num_heads)

Stored: K and V of each encoder token (Whisper: 1,500 frames; Llama-3.2-Vision: image tokens),
computed at the first step and constant from then on, whatever the decoder's length. Not stored: the
encoder has no cache of its own; its output is an activation that K and V are made from.
Tensor parallelism divides KV heads.

Worked number: T5-base, 12 layers, n_kv = 12, d_h = 64, bf16: 100 encoder tokens take
12 * 2 * 12 * 64 * 100 * 2 = 3,686,400 bytes; with 20 decoder tokens transformers 5.23
held 4,423,680 in all.

Reference code: transformers models/t5, bart, whisper, mllama (MllamaTextCrossAttention), t5gemma.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, KVHeads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ENCODER_TOKENS, CacheTensor, ParamTensor, linear, split, split_kv_heads


@frozen(kw_only=True)
class CrossAttention:
    """A decoder layer's attention to an encoder's output.

    Fields:
        kind: cross.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads that are cached.
        head_dim: width of a query, key and value head.
        bias: which projections carry a bias (BART: all; Whisper: all but k; T5: none).
        qk_norm: per_head has one weight of head_dim for Q and one for K (Llama-3.2-Vision).
        gated: a learned scalar on this attention and one on the layer's ffn (Llama-3.2-Vision).
    """

    kind: Literal["cross"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    bias: tuple[Literal["q", "k", "v", "o"], ...] = ()
    qk_norm: Literal["none", "per_head"] = "none"
    gated: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly"

    def parameters(
        self, hidden_size: int, encoder_hidden_size: int | None = None
    ) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's cross-attention; all belong to ``attention``.

        encoder_hidden_size: width of the encoder's output, where it is not hidden_size (T5Gemma).
        """
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        query_dim, kv_dim = heads * self.head_dim, kv_heads * self.head_dim
        encoder_width = encoder_hidden_size or hidden_size
        yield from linear("q_proj", query_dim, hidden_size, "attention",
                          bias="q" in self.bias, shard=split(0, query_dim, heads))  # fmt: skip
        for side in ("k", "v"):
            yield from linear(f"{side}_proj", kv_dim, encoder_width, "attention",
                              bias=side in self.bias,
                              shard=split_kv_heads(0, kv_dim, kv_heads))  # fmt: skip
        yield from linear("o_proj", hidden_size, query_dim, "attention",
                          bias="o" in self.bias, shard=split(1, query_dim, heads))  # fmt: skip
        if self.qk_norm == "per_head":
            yield ParamTensor("q_norm.weight", (self.head_dim,), "attention")
            yield ParamTensor("k_norm.weight", (self.head_dim,), "attention")
        if self.gated:
            yield ParamTensor("attn_gate", (1,), "attention")
            yield ParamTensor("mlp_gate", (1,), "attention")

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        heads = self.num_key_value_heads
        shape, shard = (heads, self.head_dim), split_kv_heads(0, heads, heads)
        yield CacheTensor("cross_key", shape, ENCODER_TOKENS, "key", shard, token_axis=1)
        yield CacheTensor("cross_value", shape, ENCODER_TOKENS, "value", shard, token_axis=1)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="cross-attention",
            symbols=(
                Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
            ),
            source="Vaswani et al. 2017, arXiv 1706.03762, section 3.2.3; "
            "transformers models/t5/modeling_t5.py",
            stored="K and V of each encoder token, computed once",
            not_stored="anything that grows with the decoder; a cache of the encoder's own",
            per_position="2 * n_kv * d_h",
            positions=str(ENCODER_TOKENS),
        )
