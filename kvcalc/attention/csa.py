"""CSA, compressed sparse attention (DeepSeek-V4): an entry and an index key per 4 tokens, a window.

Equation (DeepSeek-V4 report, arXiv 2606.19348, section 2.3.1, equations 9 to 17). Entry i pools
2 * m tokens: series a of block i - 1 and series b of block i, by a softmax of their gates. The
lightning indexer pools its own, narrower keys over the same blocks and picks the top k entries.
Elements kept per layer, once per m tokens and then whatever the length (at most):

    c + d_I  per m tokens
    W * c + (2 * 2 * (m - 1) + 2 * m) * (c + d_I)

    c  head_dim    d_I  index_head_dim    m  compress_rate    W  sliding_window

Stored: the window's vectors; compressed entries, each key and value at once; compressed index keys;
of the unfinished block, both series and both gates of each of its (tokens mod m) tokens, 2c and
2 d_I wide ("buffer"); of the last whole block, series a and its gate for the overlap with the next
one ("overlap"). Not stored: tokens of closed blocks outside the window; index queries; scores. The
top k saves reading, not room. transformers keeps W - 1 tokens of the window.
Tensor parallelism replicates all of it; it divides query heads and output groups.

Worked number: DeepSeek-V4-Flash, c = 512, d_I = 128, m = 4, bf16: (512 + 128) * 2 / 4 = 320 bytes a
token and layer; 21 such layers and 20 of HCA: 21 * 320 + 20 * 8 = 6,880 bytes a token, as measured
with transformers 5.23.

Reference code: transformers models/deepseek_v4/modeling_deepseek_v4.py (DeepseekV4CSACache,
DeepseekV4CSACompressor, DeepseekV4Indexer).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.attention.hca import compressor_parameters
from kvcalc.attention.v4_window import (
    check_groups,
    shared_key_value_cache,
    shared_key_value_parameters,
)
from kvcalc.counts import BlockSize, Heads, TopTokens, WholeHeads, Width, WindowSize
from kvcalc.dtypes import Role
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, LastBlock, ParamTensor, PerBlock, Tail, linear, prefixed


@frozen(kw_only=True)
class CompressedSparseAttention:
    """Compressed sparse attention of DeepSeek-V4.

    Fields:
        kind: csa.
        num_attention_heads: query heads; all read the one cached vector.
        head_dim: width of a query head and of the vector that is key and value.
        q_lora_rank: width of the query latent.
        o_groups: groups of heads that the output projection compresses apart.
        o_lora_rank: width that each group is compressed to.
        sliding_window: the window branch sees the last W tokens, the current one included.
        compress_rate: tokens between one entry and the next (4); an entry pools twice as many.
        index_n_heads: index query heads; they do not change the cache.
        index_head_dim: width of the one shared index key.
        index_topk: entries that a query attends to; it does not change the cache.
    """

    kind: Literal["csa"]
    num_attention_heads: Heads
    head_dim: Width
    q_lora_rank: Width
    o_groups: Heads
    o_lora_rank: Width
    sliding_window: WindowSize
    compress_rate: BlockSize
    index_n_heads: WholeHeads
    index_head_dim: Width
    index_topk: TopTokens

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        yield from check_groups(self.num_attention_heads, self.o_groups)

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        yield from shared_key_value_parameters(
            hidden_size, self.num_attention_heads, self.head_dim, self.q_lora_rank,
            self.o_groups, self.o_lora_rank,
        )  # fmt: skip
        block, index_heads = self.compress_rate, self.index_n_heads
        yield from prefixed(
            "compressor", compressor_parameters(hidden_size, self.head_dim, block, 2)
        )
        at = "compressor.indexer"
        yield from prefixed(at, compressor_parameters(hidden_size, self.index_head_dim, block, 2))
        yield from linear(f"{at}.q_b_proj", index_heads * self.index_head_dim, self.q_lora_rank,
                          "attention")  # fmt: skip
        # Published checkpoints keep it in the default format.
        yield from linear(f"{at}.scorer.weights_proj", index_heads, hidden_size, "attention",
                          quantised=False)  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        yield shared_key_value_cache(self.head_dim, self.sliding_window)
        yield from self._compressed("compressed_key_value", "key_value", "", self.head_dim)
        yield from self._compressed("index_key", "index", "index_", self.index_head_dim)

    def _compressed(self, name: str, role: Role, prefix: str, width: int) -> Iterator[CacheTensor]:
        """The entries of one compressor, its unfinished block and its overlap."""
        block = self.compress_rate
        yield CacheTensor(name, (width,), PerBlock(block, block), role)
        for part in ("kv", "gate"):
            yield CacheTensor(f"{prefix}buffer_{part}", (2 * width,), Tail(block), "buffer")
        for part in ("kv", "gate"):
            yield CacheTensor(f"{prefix}overlap_{part}", (width,), LastBlock(block), "buffer")

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        block = self.compress_rate
        return Explanation(
            title="compressed sparse attention (DeepSeek-V4)",
            symbols=(
                Symbol("c", "head_dim", self.head_dim, "vector that is key and value"),
                Symbol("d_I", "index_head_dim", self.index_head_dim, "shared index key"),
                Symbol("W", "sliding_window", self.sliding_window, "window"),
                Symbol("m", "compress_rate", block, "tokens per entry"),
            ),
            source="DeepSeek-V4 report, arXiv 2606.19348, section 2.3.1, equations 9 to 17; "
            "transformers models/deepseek_v4/modeling_deepseek_v4.py",
            stored="one entry and one index key per block, the window's vectors, the unfinished "
            "block's tokens, the last block's overlap",
            not_stored="a separate value; tokens of closed blocks outside the window; queries",
            per_position="c + d_I",
            fixed="W * c + (2 * 2 * (m - 1) + 2 * m) * (c + d_I)",
            positions=str(PerBlock(block, block)),
            notes=("the fixed part is its most: window full, block one token short of closing",),
        )
