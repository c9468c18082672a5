"""MFA: many wide query heads made through a latent, one key and one value for all of them.

    q = W_q RMSNorm(W_d x)      K = W_k x      V = W_v x, or with key reuse V = K + alpha * (N K)

Kept: ``key`` (B, 1, S, C) after its rotary embedding, and ``value`` (B, 1, S, C) unless it is made
from the key.
"""

from torch import Tensor
from torch.nn import functional as F

from kvcalc.attention.mfa import MultiMatrixFactorizationAttention as Fields
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
    merged,
    rotary,
    weight,
)


class MultiMatrixFactorizationAttention(Module):
    """Multi-matrix factorization attention, MFA and MFA-KR."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        query_dim = c.num_attention_heads * c.head_dim
        self.q_proj = Linear(hidden_size, c.share_q_dim)
        self.k_proj = Linear(hidden_size, c.head_dim)
        if c.reuse_key:
            self.N = weight(c.head_dim, c.head_dim)
            self.alpha = weight(c.head_dim)
        else:
            self.v_proj = Linear(hidden_size, c.head_dim)
        self.inter_norm = Norm(c.share_q_dim)
        self.wq = Linear(c.share_q_dim, query_dim)
        self.o_proj = Linear(query_dim, hidden_size)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        q = heads(self.wq(self.inter_norm(self.q_proj(x))), c.num_attention_heads)
        q = rotary(q, step.positions)  # (B, H, T, C)
        k = append(cache, "key", rotary(heads(self.k_proj(x), 1), step.positions), 2)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        self.sight.keep(cache, "key", k, 2, step)  # (B, 1, S, C)
        if c.reuse_key:
            v = k + self.alpha * F.linear(k, self.N)
        else:
            v = append(cache, "value", heads(self.v_proj(x), 1), 2)  # (B, 1, S, C)
            self.sight.keep(cache, "value", v, 2, step)
        return self.o_proj(merged(attend(q, k, v, mask)))
