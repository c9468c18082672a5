"""HCA, heavily compressed attention (DeepSeek-V4): one entry per 128 tokens, and a window.

Equation (DeepSeek-V4 report, arXiv 2606.19348, section 2.3.2, equations 20 to 23). Every m' tokens
are pooled, C_comp = sum over the block of softmax(Z + B) * C, into one key-and-value vector.
Elements kept per layer, once per m' tokens and then whatever the length (at most):

    c  per m' tokens                   c   head_dim
    W * c + 2 * (m' - 1) * c           m'  compress_rate,  W  sliding_window

Stored: the window's vectors; the compressed entries; of the block that is not full yet, C
("buffer_kv") and the gate Z ("buffer_gate") of each token, (tokens mod m') of them: the only part
that shrinks when a block closes. Not stored: tokens of closed blocks outside the window; queries.
There is no indexer: all entries are attended to. transformers keeps W - 1 tokens of the window.
Tensor parallelism replicates all of it; it divides query heads and output groups.

Worked number: DeepSeek-V4-Flash, c = 512, m' = 128, bf16: 512 * 2 / 128 = 8 bytes a token, layer;
32,768 tokens leave 256 entries, (1, 256, 512), and empty buffers, as measured with transformers
5.23.

Reference code: transformers models/deepseek_v4/modeling_deepseek_v4.py (DeepseekV4HCACache,
DeepseekV4HCACompressor).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.attention.v4_window import (
    check_groups,
    shared_key_value_cache,
    shared_key_value_parameters,
)
from kvcalc.counts import BlockSize, Heads, Width, WindowSize
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, ParamTensor, PerBlock, Tail, linear, prefixed


def compressor_parameters(
    hidden_size: int, width: int, compress_rate: int, series: int
) -> Iterator[ParamTensor]:
    """Weights that pool a block of tokens; series: 1, or 2 when a block overlaps the one before.

    Every tensor-parallel rank holds them whole, as it holds the entries.
    """
    yield ParamTensor("position_bias", (compress_rate, series * width), "attention")
    yield from linear("kv_proj", series * width, hidden_size, "attention")
    yield from linear("gate_proj", series * width, hidden_size, "attention")
    yield ParamTensor("kv_norm.weight", (width,), "attention")


@frozen(kw_only=True)
class HeavilyCompressedAttention:
    """Heavily compressed attention of DeepSeek-V4.

    Fields:
        kind: hca.
        num_attention_heads: query heads; all read the one cached vector.
        head_dim: width of a query head and of the vector that is key and value.
        q_lora_rank: width of the query latent.
        o_groups: groups of heads that the output projection compresses apart.
        o_lora_rank: width that each group is compressed to.
        sliding_window: the window branch sees the last W tokens, the current one included.
        compress_rate: tokens that are pooled into one entry (128).
    """

    kind: Literal["hca"]
    num_attention_heads: Heads
    head_dim: Width
    q_lora_rank: Width
    o_groups: Heads
    o_lora_rank: Width
    sliding_window: WindowSize
    compress_rate: BlockSize

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        yield from check_groups(self.num_attention_heads, self.o_groups)

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        yield from shared_key_value_parameters(
            hidden_size, self.num_attention_heads, self.head_dim, self.q_lora_rank,
            self.o_groups, self.o_lora_rank,
        )  # fmt: skip
        yield from prefixed(
            "compressor", compressor_parameters(hidden_size, self.head_dim, self.compress_rate, 1)
        )

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        width, block = (self.head_dim,), self.compress_rate
        yield shared_key_value_cache(self.head_dim, self.sliding_window)
        yield CacheTensor("compressed_key_value", width, PerBlock(block, block), "key_value")
        yield CacheTensor("buffer_kv", width, Tail(block), "buffer")
        yield CacheTensor("buffer_gate", width, Tail(block), "buffer")

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        block = self.compress_rate
        return Explanation(
            title="heavily compressed attention (DeepSeek-V4)",
            symbols=(
                Symbol("c", "head_dim", self.head_dim, "vector that is key and value"),
                Symbol("W", "sliding_window", self.sliding_window, "window"),
                Symbol("m'", "compress_rate", block, "tokens per entry"),
            ),
            source="DeepSeek-V4 report, arXiv 2606.19348, section 2.3.2, equations 20 to 23; "
            "transformers models/deepseek_v4/modeling_deepseek_v4.py",
            stored="one entry per block, the window's vectors, the unfinished block's tokens",
            not_stored="a separate value; tokens of closed blocks outside the window; queries",
            per_position="c",
            fixed="W * c + 2 * (m' - 1) * c",
            positions=str(PerBlock(block, block)),
            notes=("the fixed part is its most: window full, block one token short of closing",),
        )
