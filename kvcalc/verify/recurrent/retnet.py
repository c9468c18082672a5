"""Retention: linear attention with a fixed decay per head and rotated queries and keys.

    S_n = g_h S_(n-1) + K_n^T V_n          o_n = Q_n S_n          g_h = 1 - 2^(-5 - h)

Kept: ``kv_state`` (B, h, d_k, d_v).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.retnet import RetNet as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Norm,
    State,
    Step,
    heads,
    recall,
    retain,
    rms,
    rotary,
    up,
)


class RetNet(Module):
    """A multi-scale retention mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        keys, values = c.num_heads * c.head_k_dim, c.num_heads * c.head_v_dim
        self.q_proj = Linear(hidden_size, keys)
        self.k_proj = Linear(hidden_size, keys)
        self.v_proj = Linear(hidden_size, values)
        self.g_proj = Linear(hidden_size, values)
        if c.norm_weight:
            self.group_norm = Norm(c.head_v_dim)
        self.out_proj = Linear(values, hidden_size)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, h = self.c, self.c.num_heads
        q = up(rotary(heads(self.q_proj(x), h), step.positions)) * c.head_k_dim**-0.5
        k = up(rotary(heads(self.k_proj(x), h), step.positions))  # (B, h, T, d_k)
        v = up(heads(self.v_proj(x), h))  # (B, h, T, d_v)
        head = self.rank * h + torch.arange(h, device=x.device, dtype=q.dtype)
        decay = (1 - 2.0 ** (-5 - head))[:, None, None]  # (h, 1, 1)
        S = recall(cache, "kv_state", x, c.state_dtype, h, c.head_k_dim, c.head_v_dim)
        outs = []
        for n in range(x.shape[1]):
            S = decay * S + k[:, :, n, :, None] * v[:, :, n, None]
            outs.append((q[:, :, n, None] @ S).squeeze(2))  # (B, h, d_v)
        retain(cache, "kv_state", x, c.state_dtype, S)
        o = torch.stack(outs, 1).to(x.dtype)  # (B, T, h, d_v)
        o = self.group_norm(o) if c.norm_weight else rms(o)
        return self.out_proj(o.flatten(2) * F.silu(self.g_proj(x)))
