"""RWKV-6 (Finch) time mixing: a matrix per head with a data-dependent decay per channel.

    y_t = r_t (S_(t-1) + diag(u) k_t^T v_t)          S_t = diag(w_t) S_(t-1) + k_t^T v_t

Kept: ``wkv_state`` (B, h, d_h, d_h) and ``token_shift`` (B, d).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.rwkv6 import Rwkv6 as Fields
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


class HeadNorm(Module):
    """A group norm over each head, with a weight and a bias for every channel."""

    def __init__(self, num_heads: int, width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.weight = weight(width)
        self.bias = weight(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, h * d_h)."""
        flat = F.group_norm(up(x).flatten(0, 1), self.num_heads, eps=1e-5).view_as(x)
        return flat.to(x.dtype) * self.weight + self.bias


class Rwkv6(Module):
    """The time mixing of RWKV-6, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        h, inner, mix = c.num_heads, c.num_heads * c.head_dim, c.proj_low_rank_dim
        for letter in "xwkvrg":
            self.register_parameter(f"time_maa_{letter}", weight(1, 1, hidden_size))
        self.time_maa_w1 = weight(hidden_size, 5 * mix)
        self.time_maa_w2 = weight(5, mix, hidden_size)
        self.time_decay = weight(1, 1, inner)
        self.time_decay_w1 = weight(hidden_size, c.gate_low_rank_dim)
        self.time_decay_w2 = weight(c.gate_low_rank_dim, inner)
        self.time_faaaa = weight(h, c.head_dim)
        self.receptance = Linear(hidden_size, inner)
        self.key = Linear(hidden_size, inner)
        self.value = Linear(hidden_size, inner)
        self.gate = Linear(hidden_size, inner)
        self.output = Linear(inner, hidden_size)
        self.ln_x = HeadNorm(h, inner)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, h, d_h = self.c, self.c.num_heads, self.c.head_dim
        change = shifted(x, cache) - x  # (B, T, d)
        low = torch.tanh((x + change * self.get_parameter("time_maa_x")) @ self.time_maa_w1)
        mixes = torch.einsum("btfm,fmd->fbtd", unfold(low, -1, (5, -1)), self.time_maa_w2)
        w, k, v, r, g = (
            x + change * (self.get_parameter(f"time_maa_{letter}") + mixes[index])
            for index, letter in enumerate("wkvrg")
        )
        decay = up(self.time_decay + torch.tanh(w @ self.time_decay_w1) @ self.time_decay_w2)
        decay = unfold(torch.exp(-decay.exp()), -1, (h, d_h))  # (B, T, h, d_h)
        r, k, v = (unfold(up(part), -1, (h, d_h))
                   for part in (self.receptance(r), self.key(k), self.value(v)))  # fmt: skip
        S = recall(cache, "wkv_state", x, c.state_dtype, h, d_h, d_h)
        u = up(self.time_faaaa)[..., None]  # (h, d_h, 1)
        outs = []
        for t in range(x.shape[1]):
            kv = k[:, t, :, :, None] * v[:, t, :, None]  # (B, h, d_h, d_h)
            outs.append((r[:, t, :, None] @ (S + u * kv)).squeeze(2))
            S = decay[:, t, ..., None] * S + kv
        retain(cache, "wkv_state", x, c.state_dtype, S)
        y = self.ln_x(torch.stack(outs, 1).flatten(2).to(x.dtype))  # (B, T, h * d_h)
        return self.output(y * F.silu(self.gate(g)))
