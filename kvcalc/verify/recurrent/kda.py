"""KDA: gated DeltaNet with a decay per channel of the key.

    S_t = (I - b_t k_t k_t^T) Diag(a_t) S_(t-1) + b_t k_t v_t^T          o_t = S_t^T q_t

Kept: ``conv_state`` (B, 3 h d_h, K - 1) over q, k and v, and ``recurrent_state`` (B, h, d_h, d_h).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.recurrent.kda import KimiDeltaAttention as Fields
from kvcalc.verify.parts import (
    CausalConv,
    Linear,
    Module,
    Norm,
    State,
    Step,
    delta_rule,
    recall,
    retain,
    unfold,
    up,
    weight,
)


class ForgetGate(nn.Module):
    """Makes the decay of every channel, by one matrix or a low-rank pair."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        inner = c.num_heads * c.head_dim
        self.full = c.full_rank_decay
        if c.full_rank_decay:
            self.f_proj = Linear(hidden_size, inner)
        else:
            self.f_a_proj = Linear(hidden_size, c.head_dim)
            self.f_b_proj = Linear(c.head_dim, inner)
        self.dt_bias = weight(inner)
        self.A_log = weight(1, 1, c.num_heads, 1)

    def decay(self, x: Tensor) -> Tensor:
        """(B, T, h, d_h), between 0 and 1."""
        f = self.f_proj(x) if self.full else self.f_b_proj(self.f_a_proj(x))
        dt = unfold(F.softplus(up(f) + self.dt_bias), -1, (self.A_log.shape[2], -1))
        return torch.exp(-up(self.A_log).exp() * dt)


class KimiDeltaAttention(Module):
    """A KDA mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        inner = c.num_heads * c.head_dim
        self.q_proj = Linear(hidden_size, inner)
        self.k_proj = Linear(hidden_size, inner)
        self.v_proj = Linear(hidden_size, inner)
        self.conv1d = CausalConv(3 * inner, c.short_conv_kernel_size, bias=False)
        self.forget_gate = ForgetGate(c, hidden_size)
        self.b_proj = Linear(hidden_size, c.num_heads)
        if c.full_rank_gate:
            self.g_proj = Linear(hidden_size, inner)
        else:
            self.g_a_proj = Linear(hidden_size, c.head_dim)
            self.g_b_proj = Linear(c.head_dim, inner)
        self.o_norm = Norm(c.head_dim)
        self.o_proj = Linear(inner, hidden_size)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, h, d_h = self.c, self.c.num_heads, self.c.head_dim
        qkv = torch.cat((self.q_proj(x), self.k_proj(x), self.v_proj(x)), -1)
        qkv = unfold(up(F.silu(self.conv1d(qkv, cache))), -1, (3, h, d_h))  # (B, T, 3, h, d_h)
        q, k = F.normalize(qkv[:, :, 0], dim=-1), F.normalize(qkv[:, :, 1], dim=-1)
        v = qkv[:, :, 2]
        b = up(self.b_proj(x)).sigmoid()  # (B, T, h)
        a = self.forget_gate.decay(x)  # (B, T, h, d_h)
        S = recall(cache, "recurrent_state", x, c.state_dtype, h, d_h, d_h)
        o, S = delta_rule(S, q, k, v, b, a[..., None])
        retain(cache, "recurrent_state", x, c.state_dtype, S)
        gate = self.g_proj(x) if c.full_rank_gate else self.g_b_proj(self.g_a_proj(x))
        o = self.o_norm(o.to(x.dtype)) * unfold(gate.sigmoid(), -1, (h, d_h))
        return self.o_proj(o.flatten(2))
