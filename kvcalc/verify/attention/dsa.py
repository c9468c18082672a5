"""The lightning indexer of DSA: it scores every past token, and a query attends to the top k.

    I_ts = sum_j w_tj ReLU(q_tj . k_s)          one index key k_s for all index heads j

Kept: ``index_key`` (B, S, d_I) after its norm and rotary embedding. Each query chooses among the
tokens it may see, by its own scores, so a full pass and a decode step choose alike.

With a pool of m tokens ``index_key`` is (B, S // m, d_I), one weighed sum a pool, and of the unfinished
pool ``index_buffer_key`` and ``index_buffer_gate`` (B, S mod m, d_I) are kept. A query chooses among the
pools that are full where it stands, and sees the tokens after the last of them. Gated pools have no
rotary embedding; a mean is normed, and rotated to its pool's first place, and has no gate.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

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
    remember,
    rotary,
    top,
    unfold,
    up,
    weight,
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
        if c.pooling == "gated" and c.index_kpool is not None:
            self.index_kpool_compress_ape = weight(c.index_kpool, c.index_head_dim)
            self.index_kpool_compress_gate = weight(c.index_head_dim, hidden_size)

    def forward(
        self, x: Tensor, query: Tensor, cache: State | None, step: Step, sight: Sight
    ) -> Tensor:
        c = self.c
        q, k = heads(self.wq_b(query), c.index_n_heads), self.wk(x)  # (B, J, T, d_I), (B, T, d_I)
        if c.qk_norm:
            q = self.q_norm(q)
        if c.norm or (c.qk_norm and c.pooling != "mean"):
            k = self.k_norm(k)
        if c.index_kpool is not None:
            pooled = self._pooled(x, k, cache, step)
            q = q if c.pooling == "gated" else rotary(q, step.positions)
            return self._pools(self._scores(x, q, pooled), cache, step, sight)
        q, k = rotary(q, step.positions), rotary(k, step.positions)
        k = append(cache, "index_key", k, 1)  # (B, S, d_I)
        order = sight.kept(step, cache)
        sight.keep(cache, "index_key", k, 1, step)
        scores = self._scores(x, q, k)
        return top(scores, c.index_topk, sight.mask(step.order, order).expand_as(scores))

    def _scores(self, x: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """(B, T, S): the index score of every key for every query."""
        scores = (q @ k.unsqueeze(1).transpose(-1, -2)).relu()  # (B, J, T, S)
        if self.c.head_weights:
            scores = scores * self.weights_proj(x).transpose(1, 2).unsqueeze(-1)
        return scores.sum(1)

    def _pooled(self, x: Tensor, k: Tensor, cache: State | None, step: Step) -> Tensor:
        """(B, S // m, d_I): the keys of all full pools; keeps the unfinished one's parts."""
        m = self.c.index_kpool or 1
        parts = {"key": k}
        if self.c.pooling == "gated":
            parts["gate"] = F.linear(x, self.index_kpool_compress_gate)
        parts = {part: append(cache, f"index_buffer_{part}", new, 1) for part, new in parts.items()}
        whole = parts["key"].shape[1] // m * m
        for part, tensor in parts.items():
            remember(cache, f"index_buffer_{part}", tensor[:, whole:])
        pools = {part: unfold(tensor[:, :whole], 1, (-1, m)) for part, tensor in parts.items()}
        keys = up(pools["key"])  # (B, n, m, d_I)
        if self.c.pooling == "gated":
            share = up(pools["gate"] + self.index_kpool_compress_ape).softmax(2)
            new = (share * keys).sum(2).to(x.dtype)
        else:
            first = step.start // m + torch.arange(keys.shape[1], device=x.device)
            new = keys.mean(2).to(x.dtype)
            new = rotary(self.k_norm(new) if self.c.qk_norm else new, first * m)
        pooled = append(cache, "index_key", new, 1)
        remember(cache, "index_key", pooled)
        return pooled

    def _pools(self, scores: Tensor, cache: State | None, step: Step, sight: Sight) -> Tensor:
        """(B, T, S): the tokens of the pools that score highest, and those behind the last full one."""
        m = self.c.index_kpool or 1
        full = torch.arange(1, scores.shape[2] + 1, device=scores.device) * m  # where a pool ends
        closed = (step.order[:, None] + 1 >= full[None, :]).expand_as(scores)
        chosen = top(scores, max(1, self.c.index_topk // m), closed)  # (B, T, n)
        key = sight.kept(step, cache)  # (S,)
        last = (step.order + 1) // m * m
        tail = (key[None, :] >= last[:, None]).expand(scores.shape[0], -1, -1)
        if not scores.shape[2]:
            return tail & sight.mask(step.order, key)
        place = (key // m).clamp(max=scores.shape[2] - 1)
        of_pool = chosen[:, :, place] & (key < scores.shape[2] * m)
        return (of_pool | tail) & sight.mask(step.order, key)
