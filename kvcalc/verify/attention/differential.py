"""Differential attention: (softmax(Q1 K1^T) - lambda softmax(Q2 K2^T)) V, per pair of heads.

Kept: ``key`` and ``value`` (B, n_kv, S, d_h), where both of a pair are counted; a pair's value is
the two of them side by side, 2 d_h wide.
"""

import torch
from torch import Tensor

from kvcalc.attention.differential import DifferentialAttention as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Norm,
    Sight,
    State,
    Step,
    append,
    attend,
    heads,
    rms,
    rotary,
    up,
    weight,
)

LAMBDA_INIT = 0.8


class DifferentialAttention(Module):
    """The difference of two softmax maps."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, n_kv, d_h = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = Linear(hidden_size, H * d_h, "q" in c.bias)
        self.k_proj = Linear(hidden_size, n_kv * d_h, "k" in c.bias)
        self.v_proj = Linear(hidden_size, n_kv * d_h, "v" in c.bias)
        self.o_proj = Linear(H * d_h, hidden_size, "o" in c.bias)
        self.lambda_q1 = weight(d_h)
        self.lambda_k1 = weight(d_h)
        self.lambda_q2 = weight(d_h)
        self.lambda_k2 = weight(d_h)
        if c.groupnorm_affine:
            self.groupnorm = Norm(2 * d_h)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, n_kv = self.c, self.c.num_key_value_heads
        q = rotary(heads(self.q_proj(x), c.num_attention_heads), step.positions)  # (B, H, T, d_h)
        k = rotary(heads(self.k_proj(x), n_kv), step.positions)  # (B, n_kv, T, d_h)
        k = append(cache, "key", k, 2)
        v = append(cache, "value", heads(self.v_proj(x), n_kv), 2)  # (B, n_kv, S, d_h)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        pair_v = torch.cat((v[:, 0::2], v[:, 1::2]), -1)  # (B, n_kv / 2, S, 2 d_h)
        one = attend(q[:, 0::2], k[:, 0::2], pair_v, mask)  # (B, H / 2, T, 2 d_h)
        two = attend(q[:, 1::2], k[:, 1::2], pair_v, mask)
        y = one - self._lambda().to(x.dtype) * two
        y = (self.groupnorm(y) if c.groupnorm_affine else rms(y)) * (1 - LAMBDA_INIT)
        return self.o_proj(y.transpose(1, 2).flatten(2))

    def _lambda(self) -> Tensor:
        first = (up(self.lambda_q1) * up(self.lambda_k1)).sum().exp()
        second = (up(self.lambda_q2) * up(self.lambda_k2)).sum().exp()
        return first - second + LAMBDA_INIT
