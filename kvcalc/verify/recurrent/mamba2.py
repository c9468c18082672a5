"""Mamba-2: a matrix state per head and a short convolution over x, B and C.

    S_t = exp(dt_t A) S_(t-1) + dt_t x_t B_t^T          y_t = S_t C_t + D x_t

Kept: ``conv_state`` (B, channels, K - 1) and ``ssm_state`` (B, n_h, P, N).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.mamba2 import Mamba2 as Fields
from kvcalc.verify.parts import (
    CausalConv,
    Linear,
    Module,
    Norm,
    State,
    Step,
    recall,
    retain,
    up,
    weight,
)


class Mamba2(Module):
    """A Mamba-2 mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.inner = c.num_heads * c.head_dim
        self.group = c.n_groups * c.state_size
        channels = self.inner + 2 * self.group
        self.in_proj = Linear(hidden_size, self.inner + channels + c.num_heads, c.proj_bias)
        self.conv1d = CausalConv(channels, c.conv_kernel, c.conv_bias)
        self.dt_bias = weight(c.num_heads)
        self.A_log = weight(c.num_heads)
        self.D = weight(c.num_heads)
        if c.gated_norm:
            self.norm = Norm(self.inner)
        self.out_proj = Linear(self.inner, hidden_size, c.proj_bias)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        batch, tokens, _ = x.shape
        n_h, P, N, G = c.num_heads, c.head_dim, c.state_size, c.n_groups
        channels = self.inner + 2 * self.group
        z, xBC, dt = self.in_proj(x).split_with_sizes((self.inner, channels, n_h), -1)
        xBC = up(F.silu(self.conv1d(xBC, cache)))
        u, b, c_out = xBC.split_with_sizes((self.inner, self.group, self.group), -1)
        u = u.view(batch, tokens, n_h, P)
        b = b.view(batch, tokens, G, N).repeat_interleave(n_h // G, 2)  # (B, T, n_h, N)
        c_out = c_out.view(batch, tokens, G, N).repeat_interleave(n_h // G, 2)
        dt = F.softplus(up(dt) + self.dt_bias)  # (B, T, n_h)
        decay = torch.exp(-dt * up(self.A_log).exp())  # (B, T, n_h)
        S = recall(cache, "ssm_state", x, c.state_dtype, n_h, P, N)
        ys = []
        for t in range(tokens):
            new = (dt[:, t, :, None] * u[:, t])[..., None] * b[:, t, :, None]  # (B, n_h, P, N)
            S = decay[:, t, :, None, None] * S + new
            ys.append((S * c_out[:, t, :, None]).sum(-1) + self.D[:, None] * u[:, t])
        retain(cache, "ssm_state", x, c.state_dtype, S)
        y = torch.stack(ys, 1).reshape(batch, tokens, self.inner).to(x.dtype) * F.silu(z)
        return self.out_proj(self.norm(y) if c.gated_norm else y)
