"""FoX, forgetting attention: softmax attention whose logits decay by a forget gate of each query head.

Equation (Lin, Nikishin, He and Courville 2025, arXiv 2503.02130, equation 5): the logit of query i and
key j gains D_ij = sum over l = j + 1 .. i of log f_l, with f_l = sigmoid(w . x_l + b) for each query
head. Elements kept per cached position of one layer:

    2 * n_kv * d_h + n_h

    n_h   num_attention_heads, each with a gate
    n_kv  num_key_value_heads
    d_h   head_dim

Stored: keys and values in the format of the cache, and log f of every query head in fp32, whatever
that is (the reference code keeps each token's; their running sums are as many). Not stored: queries,
D. There are no rotary embeddings.
Tensor parallelism divides gates like query heads, keys and values like KV heads.

Worked number: n_h = 32, n_kv = 8, d_h = 128, in bf16: 2 * 8 * 128 * 2 + 32 * 4 = 4,224 bytes a token
and layer.

Reference code: fla-org/flash-linear-attention 0.5.2 fla/layers/forgetting_attn.py
(ForgettingAttention), whose cache is (k, v, f).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, KVHeads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, linear, split, split_kv_heads


@frozen(kw_only=True)
class ForgettingAttention:
    """Forgetting attention (FoX).

    Fields:
        kind: forgetting.
        num_attention_heads: query heads, each with a forget gate.
        num_key_value_heads: key and value heads that are cached.
        head_dim: width of a query, key and value head.
        qkv_bias: queries, keys and values have biases; the gate always has one.
        qk_norm: queries and keys are normalised by head, with a weight for every channel.
        output_gate: the output is multiplied with the sigmoid of a projection of the input.
    """

    kind: Literal["forgetting"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    qkv_bias: bool = False
    qk_norm: bool = False
    output_gate: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        query_dim, kv_dim = heads * self.head_dim, kv_heads * self.head_dim
        by_head, by_kv_head = split(0, query_dim, heads), split_kv_heads(0, kv_dim, kv_heads)
        yield from linear("q_proj", query_dim, hidden_size, "attention",
                          bias=self.qkv_bias, shard=by_head)  # fmt: skip
        for name in ("k_proj", "v_proj"):
            yield from linear(name, kv_dim, hidden_size, "attention",
                              bias=self.qkv_bias, shard=by_kv_head)  # fmt: skip
        yield from linear("f_proj", heads, hidden_size, "attention", bias=True,
                          shard=split(0, heads, heads))  # fmt: skip
        if self.output_gate:
            yield from linear("g_proj", query_dim, hidden_size, "attention", shard=by_head)
        if self.qk_norm:
            yield ParamTensor("q_norm.weight", (query_dim,), "attention", by_head)
            yield ParamTensor("k_norm.weight", (kv_dim,), "attention", by_kv_head)
        yield from linear("o_proj", hidden_size, query_dim, "attention",
                          shard=split(1, query_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        shape, shard = (kv_heads, self.head_dim), split_kv_heads(0, kv_heads, kv_heads)
        yield CacheTensor("key", shape, EVERY_TOKEN, "key", shard, token_axis=1)
        yield CacheTensor("value", shape, EVERY_TOKEN, "value", shard, token_axis=1)
        yield CacheTensor("log_forget", (heads,), EVERY_TOKEN, "buffer", split(0, heads, heads),
                          dtype="fp32")  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="forgetting attention",
            symbols=(
                Symbol("n_h", "num_attention_heads", self.num_attention_heads, "forget gates"),
                Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
                Symbol("d_h", "head_dim", self.head_dim, "width of a head"),
            ),
            source="Lin et al. 2025, arXiv 2503.02130; "
            "fla-org/flash-linear-attention fla/layers/forgetting_attn.py",
            stored="keys and values, and the logarithm of each query head's forget gate, in fp32",
            not_stored="queries; the decay between every query and key",
            per_position="2 * n_kv * d_h + n_h",
            positions=str(EVERY_TOKEN),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
