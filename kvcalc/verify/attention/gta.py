"""GTA: one tied state per KV head is the value, and its first part is the key without rotary part.

    V = S          K = [S[: d_h - d_R], RoPE(W_r x)]

Kept: ``key_value`` (B, n_kv, S, d_h) and ``rope_key`` (B, S, d_R), one for all heads.
"""

import torch
from torch import Tensor

from kvcalc.attention.gta import GroupedTiedAttention as Fields
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
    rotary,
)


class GroupedTiedAttention(Module):
    """Grouped-tied attention."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        query_dim = c.num_attention_heads * c.head_dim
        self.q_proj = Linear(hidden_size, query_dim, "q" in c.bias)
        self.kv_proj = Linear(hidden_size, c.num_key_value_heads * c.head_dim, "kv" in c.bias)
        self.W_rope_k = Linear(hidden_size, c.rope_dim, "rope_k" in c.bias)
        self.o_proj = Linear(query_dim, hidden_size, "o" in c.bias)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        plain = c.head_dim - c.rope_dim
        q = heads(self.q_proj(x), c.num_attention_heads)  # (B, H, T, d_h)
        q = torch.cat((q[..., :plain], rotary(q[..., plain:], step.positions)), -1)
        tied = heads(self.kv_proj(x), c.num_key_value_heads)
        tied = append(cache, "key_value", tied, 2)  # (B, n_kv, S, d_h)
        k_R = append(cache, "rope_key", rotary(self.W_rope_k(x), step.positions), 1)  # (B, S, d_R)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        self.sight.keep(cache, "key_value", tied, 2, step)
        self.sight.keep(cache, "rope_key", k_R, 1, step)
        shared = k_R.unsqueeze(1).expand(-1, c.num_key_value_heads, -1, -1)
        k = torch.cat((tied[..., :plain], shared), -1)  # (B, n_kv, S, d_h)
        return self.o_proj(merged(attend(q, k, tied, mask)))
