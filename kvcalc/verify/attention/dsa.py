"""The lightning indexer of DSA: it scores every past token, and a query attends to the top k.

    I_ts = sum_j w_tj ReLU(q_tj . k_s)          one index key k_s for all index heads j

Kept: ``index_key`` (B, S, d_I) after its norm and rotary embedding. Each query chooses among the
tokens it may see, by its own scores, so a full pass and a decode step choose alike.
"""

from torch import Tensor

from kvcalc.attention.dsa import Indexer as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Norm,
    Sight,
    State,
    Step,
    append,
    heads,
    rotary,
    top,
)


class Indexer(Module):
    """Chooses index_topk tokens for each query: (B, T, S), true where chosen."""

    def __init__(self, c: Fields, hidden_size: int, query_width: int) -> None:
        super().__init__()
        self.c = c
        self.wq_b = Linear(query_width, c.index_n_heads * c.index_head_dim)
        self.wk = Linear(hidden_size, c.index_head_dim)
        if c.norm:
            self.k_norm = Norm(c.index_head_dim, "layernorm")
        if c.qk_norm:
            self.q_norm = Norm(c.index_head_dim)
            self.k_norm = Norm(c.index_head_dim)
        if c.head_weights:
            self.weights_proj = Linear(hidden_size, c.index_n_heads)

    def forward(
        self, x: Tensor, query: Tensor, cache: State | None, step: Step, sight: Sight
    ) -> Tensor:
        c = self.c
        q, k = heads(self.wq_b(query), c.index_n_heads), self.wk(x)  # (B, J, T, d_I), (B, T, d_I)
        if c.qk_norm:
            q = self.q_norm(q)
        if c.norm or c.qk_norm:
            k = self.k_norm(k)
        q, k = rotary(q, step.positions), rotary(k, step.positions)
        k = append(cache, "index_key", k, 1)  # (B, S, d_I)
        order = sight.kept(step, cache)
        sight.keep(cache, "index_key", k, 1, step)
        scores = (q @ k.unsqueeze(1).transpose(-1, -2)).relu()  # (B, J, T, S)
        if c.head_weights:
            scores = scores * self.weights_proj(x).transpose(1, 2).unsqueeze(-1)
        scores = scores.sum(1)  # (B, T, S)
        return top(scores, c.index_topk, sight.mask(step.order, order).expand_as(scores))
