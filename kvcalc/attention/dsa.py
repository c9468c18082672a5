"""DSA, DeepSeek Sparse Attention: the lightning indexer, which scores every past token for a query.

Equation (DeepSeek-V3.2-Exp report, equations 1 and 2): the index score of token s for query t is
sum over index heads j of w_tj * ReLU(q_tj . k_s); the top k tokens are attended to. One index key
k_s of width d_I serves all index heads, so elements kept per position are

    d_I      index_head_dim, beside what the attention itself keeps

Stored: one index key per token and layer that owns an indexer. Layers that reuse another layer's
top-k (GLM-5.2, ``indexer: null``) keep none. Not stored: index queries, head weights, scores.
Selecting the top k saves reading, not room: every token's latent and index key stay.

Worked number: DeepSeek-V3.2, 61 layers, d_c + d_R + d_I = 512 + 64 + 128: 85,888 bytes a token in
bf16, as measured with transformers 5.23. As fp8_ds_mla: 61 * (656 + 132) = 48,068.

MiniMax-M3 puts the same index key beside grouped keys and values in 57 of its 60 layers, and picks
whole blocks with it: 60 * 2 * 4 * 128 + 57 * 128 = 68,736 elements a token.

Reference code: DeepSeek-V3.2-Exp inference/model.py (Indexer); transformers models/deepseek_v32 and
models/minimax_m3_vl.
"""

from collections.abc import Iterator

from kvcalc.counts import TopTokens, WholeHeads, Width
from kvcalc.explanation import Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, Extent, ParamTensor, linear


@frozen(kw_only=True)
class Indexer:
    """The lightning indexer of DeepSeek sparse attention.

    Fields:
        index_n_heads: index query heads; they do not change the cache.
        index_head_dim: width of the one shared index key.
        index_topk: tokens that a query attends to; it does not change the cache.
        norm: the index key passes a LayerNorm (DeepSeek-V3.2).
        qk_norm: index queries and key pass RMSNorms of index_head_dim (MiniMax-M3).
        head_weights: a projection weighs the index heads; MiniMax-M3 has none.
    """

    index_n_heads: WholeHeads
    index_head_dim: Width
    index_topk: TopTokens
    norm: bool = True
    qk_norm: bool = False
    head_weights: bool = True

    def parameters(self, hidden_size: int, query_width: int) -> Iterator[ParamTensor]:
        """Weights of one indexer; query_width is the width that index queries are made from."""
        heads, width = self.index_n_heads, self.index_head_dim
        yield from linear("wq_b", heads * width, query_width, "attention")
        yield from linear("wk", width, hidden_size, "attention")
        if self.norm:
            yield ParamTensor("k_norm.weight", (width,), "attention")
            yield ParamTensor("k_norm.bias", (width,), "attention")
        if self.qk_norm:
            yield ParamTensor("q_norm.weight", (width,), "attention")
            yield ParamTensor("k_norm.weight", (width,), "attention")
        if self.head_weights:
            # Published checkpoints keep it in the default format (DeepSeek-V3.2's weight map).
            yield from linear("weights_proj", heads, hidden_size, "attention", quantised=False)

    def cache(self, extent: Extent) -> Iterator[CacheTensor]:
        """The shared index key; every tensor-parallel rank keeps it whole."""
        yield CacheTensor("index_key", (self.index_head_dim,), extent, "index")

    def symbol(self) -> Symbol:
        return Symbol("d_I", "indexer.index_head_dim", self.index_head_dim, "shared index key")
