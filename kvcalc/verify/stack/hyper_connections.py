"""mHC: n residual streams, read and written by every sublayer F through learned weights.

    X' = H_res X + h_post F(h_pre X)          X (B, T, n, d)

The weights depend on the token alone, so nothing is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.stack.hyper_connections import HyperConnections as Fields
from kvcalc.verify.parts import Module, rms, unfold, weight

SINKHORN_STEPS = 4


class HyperConnection(Module):
    """One sublayer's connection to the streams."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.n = c.hc_mult
        mixes = (2 + c.hc_mult) * c.hc_mult
        self.fn = weight(mixes, c.hc_mult * hidden_size)
        self.base = weight(mixes)
        self.scale = weight(3)

    def forward(self, X: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        n = self.n
        mixes = F.linear(rms(X.flatten(2)), self.fn)  # (B, T, n^2 + 2 n)
        alpha = [self.scale[i].expand(size) for i, size in enumerate((n, n, n * n))]
        mixes = mixes * torch.cat(alpha) + self.base
        pre, post, res = mixes.split_with_sizes((n, n, n * n), -1)
        H_res = unfold(res, -1, (n, n)).softmax(-1)  # (B, T, n, n)
        for _ in range(SINKHORN_STEPS):  # towards rows and columns that add up to 1
            H_res = H_res / H_res.sum(-2, keepdim=True)
            H_res = H_res / H_res.sum(-1, keepdim=True)
        y = sublayer((pre.sigmoid().unsqueeze(-1) * X).sum(2))  # (B, T, d)
        return H_res @ X + 2 * post.sigmoid().unsqueeze(-1) * y.unsqueeze(2)


class HyperHead(Module):
    """The fold of the streams into one after the last layer."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.is_mean = c.fold == "mean"
        if self.is_mean:
            return
        self.hc_fn = weight(c.hc_mult, c.hc_mult * hidden_size)
        self.hc_base = weight(c.hc_mult)
        self.hc_scale = weight(1)

    def forward(self, X: Tensor) -> Tensor:
        if self.is_mean:
            return X.mean(2)
        share = (F.linear(rms(X.flatten(2)), self.hc_fn) * self.hc_scale + self.hc_base).sigmoid()
        return (share.unsqueeze(-1) * X).sum(2)  # (B, T, d)


def widen(x: Tensor, c: Fields) -> Tensor:
    """n copies of the embeddings: (B, T, d) -> (B, T, n, d)."""
    return torch.stack([x] * c.hc_mult, 2)
