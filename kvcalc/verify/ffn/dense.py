"""The two-matrix feed-forward layer: y = W_2 act(W_1 x). It keeps nothing."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.ffn.dense import DenseFeedForward as Fields
from kvcalc.verify.parts import Linear, Module, State, Step, weight


class Xielu(Module):
    """xIELU, an activation that learns its two slopes (Apertus)."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha_p = weight(1)
        self.alpha_n = weight(1)

    def forward(self, x: Tensor) -> Tensor:
        positive = F.softplus(self.alpha_p) * x.square() + 0.5 * x
        bent = torch.expm1(x.clamp(max=0)) - x
        return torch.where(x > 0, positive, (0.5 + F.softplus(self.alpha_n)) * bent + 0.5 * x)


class DenseFeedForward(Module):
    """Two matrices with an activation between them."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.up_proj = Linear(hidden_size, c.intermediate_size, c.bias)
        self.down_proj = Linear(c.intermediate_size, hidden_size, c.bias)
        self.act_fn = Xielu() if c.xielu else None

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        h = self.up_proj(x)  # (B, T, f)
        return self.down_proj(F.gelu(h) if self.act_fn is None else self.act_fn(h))
