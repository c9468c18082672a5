"""AltUp: n copies of the residual stream; a layer computes one and the others are predicted.

    x^_i = x_i + sum_j p_ij x_j          y = layer(x^_active)          x_i = x^_i + g_i (y - x^_active)

Streams are (n, B, T, d). The coefficients depend on the token alone, so nothing is kept.
"""

import torch
from torch import Tensor, nn

from kvcalc.stack.altup import AltUp as Fields
from kvcalc.verify.parts import Linear, Norm, unfold, weight


class AltUp(nn.Module):
    """Prediction and correction around one layer."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.n, self.active = c.altup_num_inputs, c.altup_active_idx
        self.correct_output_scale = weight(hidden_size)
        self.correction_coefs = Linear(self.n, self.n)
        self.prediction_coefs = Linear(self.n, self.n**2)
        self.modality_router = Linear(hidden_size, self.n)
        self.router_norm = Norm(hidden_size)

    def _modality(self, x: Tensor) -> Tensor:
        """(B, T, n): what the coefficients are made from."""
        return (self.modality_router(self.router_norm(x)) / x.shape[-1]).tanh()

    def predict(self, streams: Tensor) -> Tensor:
        """Every stream as the others suggest it."""
        p = self.prediction_coefs(self._modality(streams[self.active]))
        p = unfold(p, -1, (self.n, self.n))  # (B, T, n, n)
        return streams + torch.einsum("btij,jbtd->ibtd", p, streams)

    def correct(self, predicted: Tensor, y: Tensor) -> Tensor:
        """Every stream moved by what the layer changed in the active one."""
        g = self.correction_coefs(self._modality(y)) + 1  # (B, T, n)
        return predicted + g.permute(2, 0, 1).unsqueeze(-1) * (y - predicted[self.active])

    def scaled(self, streams: Tensor) -> Tensor:
        """The active stream, scaled, which the per-layer embedding reads."""
        return streams[self.active] * self.correct_output_scale


def projections(c: Fields, hidden_size: int) -> nn.ModuleList:
    """Matrices that make the further streams from the embedding, or bring them back."""
    return nn.ModuleList(Linear(hidden_size, hidden_size) for _ in range(c.altup_num_inputs - 1))


def spread(x: Tensor, matrices: nn.ModuleList) -> Tensor:
    """(B, T, d) -> (n, B, T, d): the embedding and its projections."""
    return torch.stack([x, *(matrix(x) for matrix in matrices)])


def fold(streams: Tensor, matrices: nn.ModuleList) -> Tensor:
    """(n, B, T, d) -> (B, T, d): the mean of the first stream and the others projected back."""
    back = [matrix(x) for matrix, x in zip(matrices, streams[1:], strict=True)]
    return torch.stack([streams[0], *back]).mean(0)
