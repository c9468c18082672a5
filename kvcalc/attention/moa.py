"""MoA, mixture of attention heads (JetMoE): experts for queries and outputs, one K and V for all.

Equation (Zhang et al. 2022, arXiv 2210.05144, section 3; JetMoE, arXiv 2404.07413, section 2.2).
Elements kept per cached position of one layer:

    2 * n_kv * d_h        whatever the experts: each of the k that a token takes has n_kv query heads

    n_kv  num_key_value_heads    d_h  head_dim (kv_channels)    E  num_experts    k  num_experts_per_tok

    parameters  2 E n_kv d_h d + 2 n_kv d_h d + E d + d    (query and output experts, K and V, router, bias)

Stored: K after its rotary embedding, and V, once for all experts. Not stored: queries, which are
k * n_kv heads; the cache is not multiplied by k.
Tensor parallelism divides KV heads, and with them every expert's heads; the router is whole.

Worked number: JetMoE-8B, n_kv = 16, d_h = 128, 24 layers, bf16: 24 * 2 * 16 * 128 * 2 = 196,608
bytes a token, the shape of keys that transformers 5.23 keeps being [batch, 16, tokens, 128].

Reference code: transformers models/jetmoe/modeling_jetmoe.py (JetMoeAttention, JetMoeMoA).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import HeadExperts, Heads, KVHeads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, linear, split, split_kv_heads


@frozen(kw_only=True)
class MixtureOfAttentionHeads:
    """Mixture of attention heads.

    Fields:
        kind: moa.
        num_attention_heads: query heads of one token: num_key_value_heads * num_experts_per_tok.
        num_key_value_heads: key and value heads that are cached; the query heads of one expert.
        head_dim: width of a query, key and value head.
        num_experts: experts, each with a query and an output projection.
        num_experts_per_tok: experts that one token passes.
    """

    kind: Literal["moa"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    num_experts: HeadExperts
    num_experts_per_tok: HeadExperts

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, chosen = self.num_attention_heads, self.num_experts_per_tok
        if chosen > self.num_experts:
            yield "num_experts_per_tok", f"a token cannot pass {chosen} of {self.num_experts}"
        if heads != self.num_key_value_heads * chosen:
            message = f"{chosen} experts of {self.num_key_value_heads} heads are not {heads}"
            yield "num_attention_heads", message

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, experts, chosen = (
            self.num_key_value_heads,
            self.num_experts,
            self.num_experts_per_tok,
        )
        inner = heads * self.head_dim
        for name in ("k_proj", "v_proj"):
            yield from linear(name, inner, hidden_size, "attention",
                              shard=split_kv_heads(0, inner, heads))  # fmt: skip
        yield ParamTensor("experts.input_linear", (experts, inner, hidden_size), "attention",
                          split_kv_heads(1, inner, heads), chosen, quantised=True)  # fmt: skip
        yield ParamTensor("experts.output_linear", (experts, hidden_size, inner), "attention",
                          split_kv_heads(2, inner, heads), chosen, quantised=True)  # fmt: skip
        yield ParamTensor("experts.bias", (hidden_size,), "attention")
        yield from linear("experts.router", experts, hidden_size, "attention")

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        shape = (self.num_key_value_heads, self.head_dim)
        shard = split(0, self.num_key_value_heads)
        yield CacheTensor("key", shape, EVERY_TOKEN, "key", shard, token_axis=1)
        yield CacheTensor("value", shape, EVERY_TOKEN, "value", shard, token_axis=1)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="mixture of attention heads",
            symbols=(
                Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
            ),
            source="Zhang et al. 2022, arXiv 2210.05144; JetMoE, arXiv 2404.07413, section 2.2; "
            "transformers models/jetmoe/modeling_jetmoe.py",
            stored="K (after its rotary embedding) and V of each KV head, once for all experts",
            not_stored="queries of the chosen experts, attention scores",
            per_position="2 * n_kv * d_h",
            positions=str(EVERY_TOKEN),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {
    "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "num_experts": 8,
    "num_experts_per_tok": 2,
}  # fmt: skip
