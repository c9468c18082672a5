"""RWKV-4 time mixing: a decayed average of values, weighed by exponentials of keys.

    wkv_t = (a_(t-1) + e^(u + k_t) v_t) / (b_(t-1) + e^(u + k_t))
    a_t = e^(-w) a_(t-1) + e^(k_t) v_t          b_t = e^(-w) b_(t-1) + e^(k_t)

a and b are kept divided by e^p, p the running maximum, so that no exponential overflows.

Kept: ``numerator``, ``denominator`` and ``maximum`` (B, d_a), and ``token_shift`` (B, d).
"""

import torch
from torch import Tensor

from kvcalc.recurrent.rwkv4 import Rwkv4 as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    State,
    Step,
    recall,
    retain,
    shifted,
    up,
    weight,
)


class Rwkv4(Module):
    """The time mixing of RWKV-4, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        d_a = c.attention_hidden_size
        self.time_decay = weight(d_a)
        self.time_first = weight(d_a)
        self.time_mix_key = weight(1, 1, hidden_size)
        self.time_mix_value = weight(1, 1, hidden_size)
        self.time_mix_receptance = weight(1, 1, hidden_size)
        self.key = Linear(hidden_size, d_a)
        self.value = Linear(hidden_size, d_a)
        self.receptance = Linear(hidden_size, d_a)
        self.output = Linear(d_a, hidden_size)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        before = shifted(x, cache)
        k = up(self.key(before + (x - before) * self.time_mix_key))  # (B, T, d_a)
        v = up(self.value(before + (x - before) * self.time_mix_value))
        r = self.receptance(before + (x - before) * self.time_mix_receptance).sigmoid()
        fresh = cache is None or "maximum" not in cache
        a = recall(cache, "numerator", x, c.state_dtype, c.attention_hidden_size)
        b = recall(cache, "denominator", x, c.state_dtype, c.attention_hidden_size)
        p = recall(cache, "maximum", x, c.state_dtype, c.attention_hidden_size)
        p = p - 1e30 if fresh else p
        w, u = up(self.time_decay).exp(), up(self.time_first)
        outs = []
        for t in range(x.shape[1]):
            k_t, v_t = k[:, t], v[:, t]
            top = torch.maximum(p, u + k_t)
            old, new = (p - top).exp(), (u + k_t - top).exp()
            outs.append((old * a + new * v_t) / (old * b + new))
            top = torch.maximum(p - w, k_t)
            old, new = (p - w - top).exp(), (k_t - top).exp()
            a, b, p = old * a + new * v_t, old * b + new, top
        for name, state in (("numerator", a), ("denominator", b), ("maximum", p)):
            retain(cache, name, x, c.state_dtype, state)
        return self.output(r * torch.stack(outs, 1).to(x.dtype))
