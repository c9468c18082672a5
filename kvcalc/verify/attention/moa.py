"""MoA: a token's k experts each make queries and outputs; keys and values are one for all of them.

    y = sum over the top k of g_e * W_o,e softmax(W_q,e x K^T / sqrt(d_h)) V          g = softmax

Kept: ``key`` (B, n_kv, S, d_h) after its rotary embedding, and ``value``, once for all experts. A
token's route depends on that token alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kvcalc.attention.moa import MixtureOfAttentionHeads as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Sight,
    State,
    Step,
    append,
    attend,
    heads,
    rotary,
    up,
    weight,
)


class Experts(nn.Module):
    """The query and output projections of all experts, and the router between them.

    total: what adds up the shares of ranks that divide an expert's heads (kvcalc/verify/shards.py).
    """

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.total: Callable[[Tensor], Tensor] = torch.Tensor.contiguous
        inner = c.num_key_value_heads * c.head_dim
        self.input_linear = weight(c.num_experts, inner, hidden_size)
        self.output_linear = weight(c.num_experts, hidden_size, inner)
        self.bias = weight(hidden_size)
        self.router = Linear(hidden_size, c.num_experts)


class MixtureOfAttentionHeads(Module):
    """Mixture of attention heads."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        inner = c.num_key_value_heads * c.head_dim
        self.k_proj = Linear(hidden_size, inner)
        self.v_proj = Linear(hidden_size, inner)
        self.experts = Experts(c, hidden_size)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        n_kv, experts = self.c.num_key_value_heads, self.experts
        k = rotary(heads(self.k_proj(x), n_kv), step.positions)  # (B, n_kv, T, d_h)
        k = append(cache, "key", k, 2)
        v = append(cache, "value", heads(self.v_proj(x), n_kv), 2)  # (B, n_kv, S, d_h)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        scores, chosen = experts.router(x).topk(self.c.num_experts_per_tok, -1)  # (B, T, k)
        shares = up(scores).softmax(-1).to(x.dtype)
        y = torch.zeros_like(x)
        for one in range(self.c.num_experts_per_tok):
            index = chosen[..., one]  # (B, T): this token's expert
            q = torch.einsum("btd,btid->bti", x, experts.input_linear[index])
            q = rotary(heads(q, n_kv), step.positions)  # (B, n_kv, T, d_h)
            out = attend(q, k, v, mask).transpose(1, 2).flatten(2)  # (B, T, n_kv * d_h)
            out = torch.einsum("bti,btdi->btd", out, experts.output_linear[index])
            y = y + shares[..., one, None] * out
        return experts.total(y) + experts.bias
