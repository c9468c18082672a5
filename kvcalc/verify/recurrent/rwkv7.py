"""RWKV-7 (Goose) time mixing: a matrix per head, decayed and corrected along a learned direction.

    S_t = S_(t-1) (diag(w_t) - k'_t^T (a_t * k'_t)) + v_t^T k_t          y_t = S_t r_t

Later layers mix the first layer's value into their own; it is handed on within a pass, not kept.

Kept: ``wkv_state`` (B, h, d_h, d_h) and ``token_shift`` (B, d).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.rwkv7 import Rwkv7 as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    State,
    Step,
    recall,
    retain,
    shifted,
    unfold,
    up,
    weight,
)
from kvcalc.verify.recurrent.rwkv6 import HeadNorm


class Rwkv7(Module):
    """The time mixing of RWKV-7, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        inner = c.num_heads * c.head_dim
        for letter in "rwkvag":
            self.register_parameter(f"x_{letter}", weight(1, 1, hidden_size))
        low_rank = {"w": c.decay_low_rank_dim, "a": c.a_low_rank_dim, "g": c.gate_low_rank_dim}
        if c.value_residual:
            low_rank["v"] = c.v_low_rank_dim
        for letter, rank in low_rank.items():
            if letter != "g":
                self.register_parameter(f"{letter}0", weight(1, 1, inner))
            self.register_parameter(f"{letter}1", weight(hidden_size, rank))
            self.register_parameter(f"{letter}2", weight(rank, inner))
        self.k_k = weight(1, 1, inner)
        self.k_a = weight(1, 1, inner)
        self.r_k = weight(c.num_heads, c.head_dim)
        self.receptance = Linear(hidden_size, inner)
        self.key = Linear(hidden_size, inner)
        self.value = Linear(hidden_size, inner)
        self.output = Linear(inner, hidden_size)
        self.ln_x = HeadNorm(c.num_heads, inner)

    def _low_rank(self, letter: str, x: Tensor) -> Tensor:
        """x W_1 W_2, with the function between that its letter has."""
        y = x @ self.get_parameter(f"{letter}1")
        y = {"w": torch.tanh, "g": torch.sigmoid}.get(letter, lambda z: z)(y)
        return y @ self.get_parameter(f"{letter}2")

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, h, d_h = self.c, self.c.num_heads, self.c.head_dim
        change = shifted(x, cache) - x
        x_r, x_w, x_k, x_v, x_a, x_g = (
            x + change * self.get_parameter(f"x_{letter}") for letter in "rwkvag"
        )
        r, k, v = self.receptance(x_r), self.key(x_k), self.value(x_v)  # (B, T, h * d_h)
        w = self.get_parameter("w0") + self._low_rank("w", x_w)
        a = (self.get_parameter("a0") + self._low_rank("a", x_a)).sigmoid()
        if c.value_residual and "rwkv7_value" in step.carried:
            share = (self.get_parameter("v0") + self._low_rank("v", x_v)).sigmoid()
            v = v + (step.carried["rwkv7_value"] - v) * share
        else:
            step.carried["rwkv7_value"] = v
        g = self._low_rank("g", x_g)
        removal = F.normalize(unfold((k * self.k_k), -1, (h, d_h)), dim=-1)  # (B, T, h, d_h)
        k = k * (1 + (a - 1) * self.k_a)
        decay = unfold(torch.exp(-0.606531 * up(w).sigmoid()), -1, (h, d_h))
        r, k, v, a = (unfold(up(part), -1, (h, d_h)) for part in (r, k, v, a))
        removal = up(removal)
        S = recall(cache, "wkv_state", x, c.state_dtype, h, d_h, d_h)  # (B, h, value, key)
        outs = []
        for t in range(x.shape[1]):
            along = S @ removal[:, t, :, :, None]  # (B, h, d_h, 1)
            S = (S * decay[:, t, :, None] - along * (a[:, t] * removal[:, t])[:, :, None]
                 + v[:, t, :, :, None] * k[:, t, :, None])  # fmt: skip
            outs.append((S @ r[:, t, :, :, None]).squeeze(-1))
        retain(cache, "wkv_state", x, c.state_dtype, S)
        y = self.ln_x(torch.stack(outs, 1).flatten(2).to(x.dtype))
        bonus = (r * k * up(self.r_k)).sum(-1, keepdim=True) * v  # (B, T, h, d_h)
        return self.output((y + bonus.flatten(2).to(x.dtype)) * g)
