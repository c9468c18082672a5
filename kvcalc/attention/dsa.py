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

GLM-5.3-Flash scores pools of m tokens (``index_kpool``): a softmax over m gates, made from the hidden
state and a bias for each place in the pool, weighs the index keys into one. Elements kept per layer, once
per m tokens and then whatever the length (at most):

    d_I  per m tokens          2 (m - 1) d_I          m  index_kpool

the second for key and gate of each token of the unfinished pool, which every query attends to whole.
Qwen4-Exp pools by the mean, so no gate is kept there. transformers keeps what pools are made of for every
token, key, gate and a flag (2 d_I + 1) or the key (d_I), and pools anew at each step.

MiniMax-M3 puts the same index key beside grouped keys and values in 57 of its 60 layers, and picks
whole blocks with it: 60 * 2 * 4 * 128 + 57 * 128 = 68,736 elements a token.

Reference code: DeepSeek-V3.2-Exp inference/model.py (Indexer); transformers models/deepseek_v32,
models/minimax_m3_vl, models/glm5_next (Glm5NextTextIndexer) and models/qwen4_exp
(Qwen4ExpTextQSAIndexer).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import BlockSize, TopTokens, WholeHeads, Width
from kvcalc.explanation import Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, Extent, ParamTensor, PerBlock, Tail, linear


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
        index_kpool: tokens whose index keys are pooled into one (GLM-5.3-Flash; Qwen4-Exp calls it
            indexer_compress_ratio); absent where each token has its own.
        pooling: gated weighs the keys of a pool by learned gates (GLM-5.3-Flash), mean does not
            (Qwen4-Exp, which norms and rotates the mean).
    """

    index_n_heads: WholeHeads
    index_head_dim: Width
    index_topk: TopTokens
    norm: bool = True
    qk_norm: bool = False
    head_weights: bool = True
    index_kpool: BlockSize | None = None
    pooling: Literal["gated", "mean"] | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if (self.index_kpool is None) != (self.pooling is None):
            yield "indexer", "index_kpool and pooling say one thing together: give both or neither"

    @property
    def buffers(self) -> tuple[str, ...]:
        """What is kept of each token of the unfinished pool."""
        return ("key", "gate") if self.pooling == "gated" else ("key",)

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
        if self.index_kpool is not None and self.pooling == "gated":
            yield ParamTensor("index_kpool_compress_ape", (self.index_kpool, width), "attention")
            yield ParamTensor("index_kpool_compress_gate", (width, hidden_size), "attention")

    def cache(self, extent: Extent) -> Iterator[CacheTensor]:
        """The shared index keys, and the unfinished pool's; every tensor-parallel rank keeps all."""
        width, pool = self.index_head_dim, self.index_kpool
        if pool is None:
            yield CacheTensor("index_key", (width,), extent, "index")
            return
        yield CacheTensor("index_key", (width,), PerBlock(pool, pool), "index")
        for part in self.buffers:
            yield CacheTensor(f"index_buffer_{part}", (width,), Tail(pool), "buffer")

    def symbols(self) -> tuple[Symbol, ...]:
        own = Symbol("d_I", "indexer.index_head_dim", self.index_head_dim, "shared index key")
        if self.index_kpool is None:
            return (own,)
        return own, Symbol("m", "indexer.index_kpool", self.index_kpool, "tokens per pooled key")

    def beside(self, equation: str, positions: str) -> tuple[str, str, str]:
        """An attention's equation with the index keys: per position, fixed, and which positions."""
        if self.index_kpool is None:
            return f"{equation} + d_I", "", positions
        whole = f"m * ({equation})" if "+" in equation else f"m * {equation}"
        fixed = f"{len(self.buffers)} * (m - 1) * d_I" if self.index_kpool > 1 else ""
        return f"{whole} + d_I", fixed, str(PerBlock(self.index_kpool, self.index_kpool))
