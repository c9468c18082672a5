"""Gated DeltaNet: a key-by-value matrix per value head, decayed and corrected by the delta rule.

    S_t = a_t (I - b_t k_t k_t^T) S_(t-1) + b_t k_t v_t^T          o_t = S_t^T q_t

Kept: ``conv_state`` (B, channels, K - 1) over q, k and v, and ``recurrent_state`` (B, h_v, d_k, d_v).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.gated_deltanet import GatedDeltaNet as Fields
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


class GatedDeltaNet(Module):
    """A Gated DeltaNet mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.keys = c.linear_num_key_heads * c.linear_key_head_dim
        self.values = c.linear_num_value_heads * c.linear_value_head_dim
        channels = 2 * self.keys + self.values
        self.dt_bias = weight(c.linear_num_value_heads)
        self.A_log = weight(c.linear_num_value_heads)
        self.conv1d = CausalConv(channels, c.linear_conv_kernel_dim, bias=False)
        self.in_proj_qkv = Linear(hidden_size, channels)
        self.in_proj_z = Linear(hidden_size, self.values)
        self.in_proj_b = Linear(hidden_size, c.linear_num_value_heads)
        self.in_proj_a = Linear(hidden_size, c.linear_num_value_heads)
        self.norm = Norm(c.linear_value_head_dim)
        self.out_proj = Linear(self.values, hidden_size)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        h_k, h_v = c.linear_num_key_heads, c.linear_num_value_heads
        d_k, d_v = c.linear_key_head_dim, c.linear_value_head_dim
        qkv = up(F.silu(self.conv1d(self.in_proj_qkv(x), cache)))
        q, k, v = qkv.split_with_sizes((self.keys, self.keys, self.values), -1)
        q = F.normalize(unfold(q, -1, (h_k, d_k)), dim=-1).repeat_interleave(h_v // h_k, 2)
        k = F.normalize(unfold(k, -1, (h_k, d_k)), dim=-1).repeat_interleave(h_v // h_k, 2)
        v = unfold(v, -1, (h_v, d_v))  # (B, T, h_v, d_v)
        b = up(self.in_proj_b(x)).sigmoid()  # (B, T, h_v)
        dt = F.softplus(up(self.in_proj_a(x)) + self.dt_bias)
        a = torch.exp(-up(self.A_log).exp() * dt)  # (B, T, h_v)
        S = recall(cache, "recurrent_state", x, c.state_dtype, h_v, d_k, d_v)
        o, S = delta_rule(S, q, k, v, b, a[..., None, None])
        retain(cache, "recurrent_state", x, c.state_dtype, S)
        o = self.norm(o.to(x.dtype)) * unfold(F.silu(self.in_proj_z(x)), -1, (h_v, d_v))
        return self.out_proj(o.flatten(2))
