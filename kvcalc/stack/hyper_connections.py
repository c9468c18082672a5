"""mHC, manifold-constrained hyper-connections: n residual streams, mixed by learned weights.

Equation (Xie et al. 2025, arXiv 2512.24880; DeepSeek-V4), F being attention or feed-forward:

    X' = H_res X + h_post F(h_pre X)          X in R^(n x d)
    (h_pre, h_post, H_res) = alpha * (fn RMSNorm(vec X)) + base

    parameters of one connection    (n^2 + 2 n) * n d + (n^2 + 2 n) + 3
    parameters of a layer           two of them, before attention and before the feed-forward layer
    parameters of the model         n * n d + n + 1, which fold the streams into one before the norm

    n  hc_mult    d  hidden_size    alpha  three scales    fn, base  projection and bias

Stored: nothing between decode steps; the streams are activations, n times as wide as usual.
The norm of vec X has no weight. Tensor parallelism keeps everything on every rank.

GLM-5.3-Flash folds the streams by their mean, which has no weights.

Worked number: DeepSeek-V4-Flash, n = 4, d = 4096: 786,486 a layer, 65,541 for the model.

Reference code: transformers models/deepseek_v4, glm5_next (HyperConnection, HyperHead).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Streams
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor


@frozen(kw_only=True)
class HyperConnections:
    """Residual streams that every sublayer reads and writes through learned weights.

    Fields:
        hc_mult: residual streams (n).
        fold: how the streams become one after the last layer: by learned weights, or by their mean
            (GLM-5.3-Flash).
    """

    hc_mult: Streams
    fold: Literal["weighted", "mean"] = "weighted"

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.hc_mult < 2:
            yield "hc_mult", "one stream is a plain residual connection: leave this out"

    def layer_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The two connections of a layer."""
        streams = self.hc_mult
        mixes = (2 + streams) * streams
        for name in ("attn_hc", "ffn_hc"):
            yield ParamTensor(f"{name}.fn", (mixes, streams * hidden_size), "other")
            yield ParamTensor(f"{name}.base", (mixes,), "other")
            yield ParamTensor(f"{name}.scale", (3,), "other")

    def final_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The fold of the streams into one after the last layer; a mean has no weights."""
        if self.fold == "mean":
            return
        streams = self.hc_mult
        yield ParamTensor("hc_head.hc_fn", (streams, streams * hidden_size), "other")
        yield ParamTensor("hc_head.hc_base", (streams,), "other")
        yield ParamTensor("hc_head.hc_scale", (1,), "other")
