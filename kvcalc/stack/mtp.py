"""MTP, multi-token prediction: extra layers at the end that predict the token after the next one.

Equation (DeepSeek-V3, arXiv 2412.19437, section 2.2, equations 21 to 23), for module k:

    h'_i = M_k [RMSNorm(Emb(t_(i+k))) ; RMSNorm(h_i)]          M_k in R^(d x 2d)
    h_i  = TRM_k(h'_i)          then a norm and the shared head

    parameters around the layer    2 d^2 + 3 d

    d  hidden_size    M_k  eh_proj    the norms  enorm, hnorm, shared_head.norm    TRM_k  block

Every module has one whole layer (``block``) with a cache of its own, kept only where the modules
draft tokens. Embedding and head are the main model's; DeepSeek-V3, GLM-4.5 and their heirs store
copies in the checkpoint all the same (``vocab_size``), Qwen3-Next does not.
DeepSeek-V4 has e_proj and h_proj, both d x d, where others have one d x 2d matrix, and the connections of
its residual streams in each module (kvcalc/stack/hyper_connections.py).
Qwen4-Exp has fc_embedding and fc_hidden, d x d, and norms all residual streams of h together, n d wide.
Qwen3-Next calls them fc, pre_fc_norm_embedding, pre_fc_norm_hidden and norm.
Tensor parallelism keeps the glue on every rank.

Worked number: DeepSeek-V3, d = 7168: 102,781,952 around a layer of 11,507,286,016. That layer is
the "11.5B unique parameters" of its README_WEIGHTS.md; together they are 11,610,067,968. The main
model's 671,026,404,352, these, two copies of 129,280 * 7168 and 59 router biases of 256 make
684,489,845,504, the number of values in the bf16 checkpoint.

Reference code: transformers modeling_layers.py (MtpLayer, MtpModel).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Rows, Streams
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, Part, Shard, linear


@frozen(kw_only=True)
class MultiTokenPrediction:
    """Modules that predict further tokens; counted apart from the model.

    Fields:
        num_layers: modules, each with one layer (num_nextn_predict_layers).
        block: name of the block that every module's layer is made from.
        projection: fused is one matrix over embedding and stream; separate is one for each
            (DeepSeek-V4). Both hold the same number of weights.
        final_norm: each module has a norm before the head.
        vocab_size: rows of the copies of embedding and head that the checkpoint stores with each
            module; absent when the modules only use the main model's.
        copies: which of the two it stores (LongCat-Flash: the embedding; Step-3.5: the head).
        folds: each module folds the residual streams into one before its norm (DeepSeek-V4).
        hc_mult: residual streams that a module's norm of the trunk's output spans (Qwen4-Exp).
    """

    num_layers: Modules
    block: str
    projection: Literal["fused", "separate"] = "fused"
    final_norm: bool = True
    vocab_size: Rows | None = None
    copies: Literal["both", "embedding", "head"] = "both"
    folds: bool = False
    hc_mult: Streams | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.num_layers < 1:
            yield "num_layers", "no module: leave mtp out"

    def glue_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """What one module has around its layer."""
        yield ParamTensor("enorm.weight", (hidden_size,), "norm")
        yield ParamTensor("hnorm.weight", (hidden_size * (self.hc_mult or 1),), "norm")
        if self.projection == "fused":
            yield from linear("eh_proj", hidden_size, 2 * hidden_size, "other")
        else:
            yield from linear("e_proj", hidden_size, hidden_size, "other")
            yield from linear("h_proj", hidden_size, hidden_size, "other")
        if self.final_norm:
            yield ParamTensor("shared_head.norm.weight", (hidden_size,), "norm")
        if self.vocab_size is not None:
            shape = (self.vocab_size, hidden_size)
            by_row = Shard(0, (Part(self.vocab_size, self.vocab_size, pad=True),))
            if self.copies != "head":
                yield ParamTensor("embed_tokens.weight", shape, "embedding", by_row, quantised=True)
            if self.copies != "embedding":
                yield ParamTensor("shared_head.head.weight", shape, "head", by_row, quantised=True)
