"""MoBA and Quest: block-sparse reading of a full cache, and summaries of the blocks' keys if kept.

Equation (Lu et al. 2025, MoBA, arXiv 2502.13189, equations 5 and 6; Tang et al. 2024, Quest,
arXiv 2406.10774). Elements kept per layer and block of C tokens:

    C * 2 * n_kv * d_h                      block_keys: none
    C * 2 * n_kv * d_h + n_kv * d_h         block_keys: mean (MoBA)
    C * 2 * n_kv * d_h + 2 * n_kv * d_h     block_keys: min_max (Quest)

    n_kv  num_key_value_heads    d_h  head_dim    C  moba_chunk_size (Quest: the page size)

Stored: K and V of every token, since any block may be selected. Summaries follow from K: MoBA's
reference code computes the means anew; a server that keeps them keeps one per whole block (the
current block is always read, so needs none). Quest keeps a minimum and a maximum per page, the
unfinished one included. Not stored: gate scores. Sparsity saves reading, not room.
Tensor parallelism divides KV heads.

Worked number: Llama-3-8B-1M-MoBA, n_kv = 8, d_h = 128, C = 4,096: 2,048 elements a token and layer,
and 1,024 per 4,096 tokens for mean keys.

Reference code: MoonshotAI/MoBA moba/moba_naive.py; mit-han-lab/Quest.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import BlockSize, Heads, KVHeads, TopBlocks, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import (
    EVERY_TOKEN,
    CacheTensor,
    ParamTensor,
    PerBlock,
    linear,
    split,
    split_kv_heads,
)


@frozen(kw_only=True)
class MixtureOfBlockAttention:
    """Mixture of block attention (MoBA), and Quest.

    Fields:
        kind: moba.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads that are cached.
        head_dim: width of a query, key and value head.
        moba_chunk_size: tokens of a block (Quest: of a page).
        moba_topk: blocks that a query reads; it does not change the cache.
        block_keys: summaries kept beside the keys: none, mean (MoBA) or min_max (Quest).
        bias: which projections carry a bias.
    """

    kind: Literal["moba"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    moba_chunk_size: BlockSize
    moba_topk: TopBlocks
    block_keys: Literal["none", "mean", "min_max"] = "none"
    bias: tuple[Literal["q", "k", "v", "o"], ...] = ()

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        query_dim, kv_dim = heads * self.head_dim, kv_heads * self.head_dim
        yield from linear("q_proj", query_dim, hidden_size, "attention",
                          bias="q" in self.bias, shard=split(0, query_dim, heads))  # fmt: skip
        for side in ("k", "v"):
            yield from linear(f"{side}_proj", kv_dim, hidden_size, "attention",
                              bias=side in self.bias,
                              shard=split_kv_heads(0, kv_dim, kv_heads))  # fmt: skip
        yield from linear("o_proj", hidden_size, query_dim, "attention",
                          bias="o" in self.bias, shard=split(1, query_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        heads, block = self.num_key_value_heads, self.moba_chunk_size
        shape, shard = (heads, self.head_dim), split_kv_heads(0, heads, heads)
        yield CacheTensor("key", shape, EVERY_TOKEN, "key", shard, token_axis=1)
        yield CacheTensor("value", shape, EVERY_TOKEN, "value", shard, token_axis=1)
        if self.block_keys == "mean":
            yield CacheTensor("mean_key", shape, PerBlock(block, block), "key", shard, 1)
        elif self.block_keys == "min_max":
            yield CacheTensor("min_key", shape, PerBlock(1, block), "key", shard, 1)
            yield CacheTensor("max_key", shape, PerBlock(1, block), "key", shard, 1)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        summary = {"none": "", "mean": " + n_kv * d_h", "min_max": " + 2 * n_kv * d_h"}
        symbols = [
            Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
            Symbol("d_h", "head_dim", self.head_dim, "head width"),
        ]
        kept = self.block_keys != "none"
        if kept:
            symbols.append(Symbol("C", "moba_chunk_size", self.moba_chunk_size, "tokens per block"))
        return Explanation(
            title="mixture of block attention",
            symbols=tuple(symbols),
            source="Lu et al. 2025, arXiv 2502.13189, equations 5 and 6; "
            "MoonshotAI/MoBA moba/moba_naive.py"
            + ("; Quest, arXiv 2406.10774" if self.block_keys == "min_max" else ""),
            stored="K (after its rotary embedding) and V of each KV head"
            + (f"; the {self.block_keys.replace('_', ' and ')} key of each block" if kept else ""),
            not_stored="gate scores; selecting blocks saves reading, not room",
            per_position=("C * 2 * n_kv * d_h" if kept else "2 * n_kv * d_h")
            + summary[self.block_keys],
            positions=str(EVERY_TOKEN)
            + (f"; counted per {self.moba_chunk_size} tokens" if kept else ""),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "moba_chunk_size": 4096,
    "moba_topk": 12,
}  # fmt: skip
