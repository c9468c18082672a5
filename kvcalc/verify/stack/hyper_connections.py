"""mHC: n residual streams, read and written by every sublayer F through learned weights.

    X' = H_res X + h_post F(h_pre X)          X (B, T, n, d)

The weights depend on the token alone, so nothing is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.stack.hyper_connections import HyperConnections as Fields
from kvcalc.verify.parts import Linear, Module, Norm, rms, unfold, weight

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


class GatedFold(Module):
    """Qwen4-Exp: every channel of every stream weighed by a gate of low rank, and their mean."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        wide = c.hc_mult * hidden_size
        self.n, self.d = c.hc_mult, hidden_size
        self.hc_norm = Norm(wide, "none")
        self.hc_norm.weight = weight(wide)
        self.input_mix_weight_down = Linear(wide, c.hc_lowrank or 0)
        self.input_mix_weight_up = Linear(c.hc_lowrank or 0, wide)

    def normed(self, X: Tensor) -> Tensor:
        """(B, T, n, d): each stream by itself."""
        return rms(X) * self.hc_norm.weight.view(self.n, self.d)

    def mean(self, normed: Tensor) -> Tensor:
        gates = self.input_mix_weight_down(normed.flatten(2)) / self.n
        gates = self.input_mix_weight_up(F.silu(gates)).sigmoid()
        return (unfold(gates, -1, (self.n, self.d)) * normed).mean(2)

    def forward(self, X: Tensor) -> Tensor:
        return self.mean(self.normed(X))


class GatedResidual(GatedFold):
    """One sublayer's connection: it reads the fold, and each stream takes a share of what it says."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__(c, hidden_size)
        self.block_inject_weight = Linear(c.hc_mult * hidden_size, c.hc_mult)

    def forward(self, X: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        normed = self.normed(X)
        share = 2 * (self.block_inject_weight(normed.flatten(2)) / self.n).sigmoid()  # (B, T, n)
        return X + share.unsqueeze(-1) * sublayer(self.mean(normed)).unsqueeze(2)


def connection(c: Fields, hidden_size: int) -> Module:
    """One sublayer's connection, of either kind."""
    kind = HyperConnection if c.hc_lowrank is None else GatedResidual
    return kind(c, hidden_size)


def head(c: Fields, hidden_size: int) -> Module:
    """The fold after the last layer, of either kind."""
    return HyperHead(c, hidden_size) if c.hc_lowrank is None else GatedFold(c, hidden_size)


def widen(x: Tensor, c: Fields) -> Tensor:
    """n copies of the embeddings: (B, T, d) -> (B, T, n, d)."""
    return torch.stack([x] * c.hc_mult, 2)
