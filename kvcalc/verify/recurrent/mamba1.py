"""Mamba (S6): N states per channel and a short convolution over x.

    h_t = exp(dt_t A) h_(t-1) + dt_t B_t x_t          y_t = C_t h_t + D x_t

Kept: ``conv_state`` (B, d_in, K - 1) and ``ssm_state`` (B, d_in, N).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.mamba1 import Mamba1 as Fields
from kvcalc.verify.parts import (
    CausalConv,
    Linear,
    Module,
    Norm,
    State,
    Step,
    recall,
    retain,
    rms,
    up,
    weight,
)


class Mamba1(Module):
    """A Mamba mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        d_in, N, rank = c.intermediate_size, c.state_size, c.time_step_rank
        self.A_log = weight(d_in, N)
        self.D = weight(d_in)
        self.conv1d = CausalConv(d_in, c.conv_kernel, c.conv_bias)
        self.in_proj = Linear(hidden_size, 2 * d_in, c.proj_bias)
        self.x_proj = Linear(d_in, rank + 2 * N)
        self.dt_proj = Linear(rank, d_in, bias=True)
        self.out_proj = Linear(d_in, hidden_size, c.proj_bias)
        if c.inner_norms == "weighted":
            self.dt_layernorm = Norm(rank)
            self.b_layernorm = Norm(N)
            self.c_layernorm = Norm(N)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, N = self.c, self.c.state_size
        u, z = self.in_proj(x).chunk(2, -1)  # (B, T, d_in) each
        u = F.silu(self.conv1d(u, cache))
        dt, b, c_out = self.x_proj(u).split_with_sizes((c.time_step_rank, N, N), -1)
        if c.inner_norms == "weighted":
            dt, b, c_out = self.dt_layernorm(dt), self.b_layernorm(b), self.c_layernorm(c_out)
        elif c.inner_norms == "weight_free":
            dt, b, c_out = rms(dt), rms(b), rms(c_out)
        dt = F.softplus(up(self.dt_proj(dt)))  # (B, T, d_in)
        u, b, c_out = up(u), up(b), up(c_out)
        A = -up(self.A_log).exp()  # (d_in, N)
        h = recall(cache, "ssm_state", x, c.state_dtype, c.intermediate_size, N)
        ys = []
        for t in range(x.shape[1]):
            new = (dt[:, t] * u[:, t])[..., None] * b[:, t, None]  # (B, d_in, N)
            h = (dt[:, t, :, None] * A).exp() * h + new
            ys.append((h * c_out[:, t, None]).sum(-1) + self.D * u[:, t])
        retain(cache, "ssm_state", x, c.state_dtype, h)
        return self.out_proj(torch.stack(ys, 1).to(x.dtype) * F.silu(z))
