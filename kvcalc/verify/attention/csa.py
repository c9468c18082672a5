"""CSA: overlapping entries every m tokens beside the window; an indexer picks the top k of them.

    entry i pools 2 m tokens: series a of block i - 1 and series b of block i
    I_ti = sum_j w_tj ReLU(q_tj . k_i)          k_i pooled over the same blocks

Kept beside the window, for entries and, narrower, for index keys: the closed entries, both series
and gates of the unfinished block (``buffer_*``), series a of the last whole block (``overlap_*``).
"""

from torch import Tensor, nn

from kvcalc.attention.csa import CompressedSparseAttention as Fields
from kvcalc.verify.attention.hca import Compressor
from kvcalc.verify.attention.v4_window import SharedKeyValueWindow
from kvcalc.verify.parts import Linear, State, Step, heads, rotary, top


class Scorer(nn.Module):
    """The weight of each index head for each query."""

    def __init__(self, hidden_size: int, index_heads: int) -> None:
        super().__init__()
        self.weights_proj = Linear(hidden_size, index_heads)


class EntryIndexer(Compressor):
    """Scores the closed entries for each query."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__(hidden_size, c.index_head_dim, c.compress_rate, 2, "index_key", "index_")
        self.index_heads, self.top_k = c.index_n_heads, c.index_topk
        self.q_b_proj = Linear(c.q_lora_rank, c.index_n_heads * c.index_head_dim)
        self.scorer = Scorer(hidden_size, c.index_n_heads)

    def chosen(self, x: Tensor, q_latent: Tensor, cache: State | None, step: Step) -> Tensor:
        """(B, T, entries), true where chosen."""
        keys = self.pooled(x, cache, step)  # (B, n, d_I)
        q = rotary(heads(self.q_b_proj(q_latent), self.index_heads), step.positions)
        scores = (q @ keys.unsqueeze(1).transpose(-1, -2)).relu()  # (B, J, T, n)
        weights = self.scorer.weights_proj(x).transpose(1, 2).unsqueeze(-1)  # (B, J, T, 1)
        scores = (scores * weights).sum(1)  # (B, T, n)
        return top(scores, self.top_k, self.visible(step, keys.shape[1]).expand_as(scores))


class EntryCompressor(Compressor):
    """Pools the entries; its indexer stands below it."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__(hidden_size, c.head_dim, c.compress_rate, 2, "compressed_key_value", "")
        self.indexer = EntryIndexer(c, hidden_size)


class CompressedSparseAttention(SharedKeyValueWindow):
    """The window and the top k of the compressed entries."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__(c, hidden_size)
        self.compressor = EntryCompressor(c, hidden_size)

    def compressed(
        self, x: Tensor, q_latent: Tensor, cache: State | None, step: Step
    ) -> tuple[Tensor | None, Tensor | None]:
        entries = self.compressor.pooled(x, cache, step)  # (B, n, c)
        chosen = self.compressor.indexer.chosen(x, q_latent, cache, step)  # (B, T, n)
        return entries, chosen[:, None, None]
