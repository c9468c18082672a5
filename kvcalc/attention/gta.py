"""GTA, grouped-tied attention: one state per KV head is the value and half of the key.

Equation (Zadouri, Strauss and Dao 2025, arXiv 2505.21487). Elements kept per cached
position of one layer:

    n_kv * d_h + d_R

    n_kv  num_key_value_heads: groups that share a tied state
    d_h   head_dim: the tied state; all of it is the value, its first d_h - d_R are the key's part
          without rotary embedding
    d_R   rope_dim (head_dim / 2): the key's rotary part, one for all heads

Stored: the tied state of each KV head and one rotary key. Not stored: keys, which are put together
from the two; queries. (The reference code caches the rotary key once per query head; that is its
own accounting.)
Tensor parallelism divides the tied states like KV heads and replicates the rotary key.

Worked number: n_kv = 4, d_h = 128, d_R = 64 (GTA-4): 576 elements, where GQA-4 keeps 1,024.

Reference code: Dao-AILab/grouped-latent-attention modeling_llama_GTA.py (LlamaFlashGTA).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, KVHeads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, linear, split, split_kv_heads


@frozen(kw_only=True)
class GroupedTiedAttention:
    """Grouped-tied attention.

    Fields:
        kind: gta.
        num_attention_heads: query heads.
        num_key_value_heads: tied key-value states that are cached; the number of groups.
        head_dim: width of a query head and of a tied state.
        rope_dim: width of the rotary key that all heads share.
        bias: which projections carry a bias (in the reference code the rotary key's does).
    """

    kind: Literal["gta"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    rope_dim: Width
    bias: tuple[Literal["q", "kv", "rope_k", "o"], ...] = ("rope_k",)

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} states evenly"
        if self.rope_dim > self.head_dim:
            yield "rope_dim", f"the rotary part cannot be wider than head_dim = {self.head_dim}"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        query_dim, tied_dim = heads * self.head_dim, kv_heads * self.head_dim
        yield from linear("q_proj", query_dim, hidden_size, "attention",
                          bias="q" in self.bias, shard=split(0, query_dim, heads))  # fmt: skip
        yield from linear("kv_proj", tied_dim, hidden_size, "attention", bias="kv" in self.bias,
                          shard=split_kv_heads(0, tied_dim, kv_heads))  # fmt: skip
        yield from linear("W_rope_k", self.rope_dim, hidden_size, "attention",
                          bias="rope_k" in self.bias)  # fmt: skip
        yield from linear("o_proj", hidden_size, query_dim, "attention",
                          bias="o" in self.bias, shard=split(1, query_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        heads = self.num_key_value_heads
        yield CacheTensor("key_value", (heads, self.head_dim), EVERY_TOKEN, "key_value",
                          split_kv_heads(0, heads, heads), token_axis=1)  # fmt: skip
        yield CacheTensor("rope_key", (self.rope_dim,), EVERY_TOKEN, "rope_key")

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="grouped-tied attention",
            symbols=(
                Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "tied states"),
                Symbol("d_h", "head_dim", self.head_dim, "width of a tied state"),
                Symbol("d_R", "rope_dim", self.rope_dim, "shared rotary key"),
            ),
            source="Zadouri et al. 2025, arXiv 2505.21487; "
            "Dao-AILab/grouped-latent-attention modeling_llama_GTA.py",
            stored="one state per KV head, value and half of the key, and one rotary key",
            not_stored="keys, which are put together from the two; queries",
            per_position="n_kv * d_h + d_R",
            positions=str(EVERY_TOKEN),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "rope_dim": 64}
