"""Forgetting attention: logits lose the forget gates between key and query.

    D_ij = sum over l = j + 1 .. i of log f_l          o = softmax(q k / sqrt(d_h) + D) v

Kept: ``key`` and ``value`` (B, G, S, d_h), and in fp32 ``log_forget`` (B, S, H): the sums up to each
token, as many as the terms that the reference code keeps. (Of the terms the first is never read.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.attention.forgetting import ForgettingAttention as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Sight,
    State,
    Step,
    append,
    attend,
    heads,
    merged,
    rms,
    up,
    weight,
)


class GroupNorm(Module):
    """RMSNorm of each head, with a weight for every channel of all heads."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.weight = weight(width)

    def forward(self, x: Tensor) -> Tensor:
        return merged(rms(heads(x, self.num_heads))) * self.weight


class ForgettingAttention(Module):
    """Softmax attention that forgets."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        query_dim, kv_dim = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.q_proj = Linear(hidden_size, query_dim, c.qkv_bias)
        self.k_proj = Linear(hidden_size, kv_dim, c.qkv_bias)
        self.v_proj = Linear(hidden_size, kv_dim, c.qkv_bias)
        self.f_proj = Linear(hidden_size, c.num_attention_heads, True)
        if c.output_gate:
            self.g_proj = Linear(hidden_size, query_dim)
        if c.qk_norm:
            self.q_norm = GroupNorm(query_dim, c.num_attention_heads)
            self.k_norm = GroupNorm(kv_dim, c.num_key_value_heads)
        self.o_proj = Linear(query_dim, hidden_size)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, G = self.c, self.c.num_key_value_heads
        q, k = self.q_proj(x), self.k_proj(x)
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        k = append(cache, "key", heads(k, G), 2)  # (B, G, S, d_h)
        v = append(cache, "value", heads(self.v_proj(x), G), 2)
        total = self._total(F.logsigmoid(up(self.f_proj(x))), cache)  # (B, S, H)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        self.sight.keep(cache, "log_forget", total, 1, step)
        total = total.transpose(1, 2)  # (B, H, S)
        decay = total[:, :, -x.shape[1] :, None] - total[:, :, None]  # (B, H, T, S)
        y = merged(attend(heads(q, c.num_attention_heads), k, v, mask, bias=decay))
        return self.o_proj(torch.sigmoid(self.g_proj(x)) * y if c.output_gate else y)

    def _total(self, new: Tensor, cache: State | None) -> Tensor:
        """Sums of log f up to each token, those that were kept first."""
        if cache is None or "log_forget" not in cache:
            return new.cumsum(1)
        kept = cache["log_forget"]
        return torch.cat((kept, up(kept[:, -1:]) + new.cumsum(1)), 1)
