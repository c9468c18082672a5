"""RG-LRU: a gated linear recurrence of one number per channel, after a short convolution.

    a_t = a^(c r_t)          h_t = a_t * h_(t-1) + sqrt(1 - a_t^2) * (i_t * x_t)

Kept: ``conv_state`` (B, w, K - 1) and ``recurrent_state`` (B, w).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.recurrent.rg_lru import RgLru as Fields
from kvcalc.verify.parts import (
    CausalConv,
    Linear,
    Module,
    State,
    Step,
    recall,
    retain,
    unfold,
    up,
    weight,
)


class Recurrence(nn.Module):
    """The recurrence's decay and its two block-diagonal gates."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        blocks, width = c.num_attention_heads, c.lru_width // c.num_attention_heads
        self.recurrent_param = weight(c.lru_width)
        self.input_gate_weight = weight(blocks, width, width)
        self.input_gate_bias = weight(blocks, width)
        self.recurrent_gate_weight = weight(blocks, width, width)
        self.recurrent_gate_bias = weight(blocks, width)

    def gate(self, x: Tensor, name: str) -> Tensor:
        """(B, T, w), between 0 and 1."""
        W = self.get_parameter(f"{name}_gate_weight")
        blocks = torch.einsum("btni,nio->btno", unfold(x, -1, (W.shape[0], -1)), W)
        return (blocks + self.get_parameter(f"{name}_gate_bias")).sigmoid().flatten(2)


class RgLru(Module):
    """A recurrent block of Griffin, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.linear_y = Linear(hidden_size, c.lru_width, bias=True)
        self.linear_x = Linear(hidden_size, c.lru_width, bias=True)
        self.linear_out = Linear(c.lru_width, hidden_size, bias=True)
        self.conv_1d = CausalConv(c.lru_width, c.conv1d_width, bias=True)
        self.rg_lru = Recurrence(c)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        y = F.gelu(self.linear_y(x))  # (B, T, w)
        u = self.conv_1d(self.linear_x(x), cache)
        i, r = up(self.rg_lru.gate(u, "input")), up(self.rg_lru.gate(u, "recurrent"))
        a = torch.exp(-8.0 * r * F.softplus(up(self.rg_lru.recurrent_param)))  # (B, T, w)
        new = (1 - a.square()).clamp(min=0).sqrt() * i * up(u)
        h = recall(cache, "recurrent_state", x, self.c.state_dtype, self.c.lru_width)
        hs = []
        for t in range(x.shape[1]):
            h = a[:, t] * h + new[:, t]
            hs.append(h)
        retain(cache, "recurrent_state", x, self.c.state_dtype, h)
        return self.linear_out(torch.stack(hs, 1).to(x.dtype) * y)
