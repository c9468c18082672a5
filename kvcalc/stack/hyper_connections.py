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

Qwen4-Exp's gated residual (``hc_lowrank``) weighs each channel of each stream by a gate of rank r, and
writes back without mixing the streams:

    g = sigmoid(U silu(D Xn / n))    h = mean_n(g Xn)    X' = X + 2 sigmoid(B Xn / n) F(h)    Xn = norm(X)

    parameters of one connection    n d + 2 r n d + n * n d          of the model    n d + 2 r n d

    r  hc_lowrank    D, U  input_mix_weight_down, _up    B  block_inject_weight    norm  of each stream

GLM-5.3-Flash folds the streams by their mean, which has no weights.

Worked number: DeepSeek-V4-Flash, n = 4, d = 4096: 786,486 a layer, 65,541 for the model.
Qwen3.8-Flash-Next, n = 4, d = 2560, r = 320: 13,209,600 a layer, 6,563,840 for the model.

Reference code: transformers models/deepseek_v4, glm5_next (HyperConnection, HyperHead),
qwen4_exp (Qwen4ExpTextGatedResidual).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Streams, Width
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class HyperConnections:
    """Residual streams that every sublayer reads and writes through learned weights.

    Fields:
        hc_mult: residual streams (n).
        fold: how the streams become one after the last layer: by learned weights, or by their mean
            (GLM-5.3-Flash).
        hc_lowrank: rank of the gates per channel that Qwen4-Exp has instead of mHC's matrices (r).
    """

    hc_mult: Streams
    fold: Literal["weighted", "mean"] = "weighted"
    hc_lowrank: Width | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.hc_mult < 2:
            yield "hc_mult", "one stream is a plain residual connection: leave this out"
        if self.fold == "mean" and self.hc_lowrank is not None:
            yield "fold", "gates of a rank fold the streams, too: leave fold out"

    def layer_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The two connections of a layer."""
        streams = self.hc_mult
        if self.hc_lowrank is not None:
            for name in ("attn_hc", "ffn_hc"):
                yield from self._gated(name, hidden_size)
                yield from linear(
                    f"{name}.block_inject_weight", streams, streams * hidden_size, "other"
                )
            return
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
        if self.hc_lowrank is not None:
            yield from self._gated("hc_head", hidden_size)
            return
        yield ParamTensor("hc_head.hc_fn", (streams, streams * hidden_size), "other")
        yield ParamTensor("hc_head.hc_base", (streams,), "other")
        yield ParamTensor("hc_head.hc_scale", (1,), "other")

    def _gated(self, name: str, hidden_size: int) -> Iterator[ParamTensor]:
        """The norm and the gates of one gated residual."""
        wide, rank = self.hc_mult * hidden_size, self.hc_lowrank or 0
        yield ParamTensor(f"{name}.hc_norm.weight", (wide,), "other")
        yield from linear(f"{name}.input_mix_weight_down", rank, wide, "other")
        yield from linear(f"{name}.input_mix_weight_up", wide, rank, "other")
