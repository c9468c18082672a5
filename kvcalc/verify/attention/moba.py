"""MoBA and Quest: a query reads whole blocks, the ones whose summaries score highest.

    MoBA   score of block i = q . mean(K_i)
    Quest  score of page i = sum over channels of max(q * min(K_i), q * max(K_i))

The query's own block is always read and needs no score; blocks before it are chosen by the top k
(its own counted). Each query head chooses for itself, among blocks that ended before its own began.

Kept: ``key`` and ``value`` (B, G, S, d_h); with block_keys mean ``mean_key`` (B, G, S // C, d_h), of
whole blocks; with min_max ``min_key`` and ``max_key`` of every page, the unfinished one included.
"""

import torch
from torch import Tensor

from kvcalc.attention.moba import MixtureOfBlockAttention as Fields
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
    remember,
    rotary,
    top,
    unfold,
)


class MixtureOfBlockAttention(Module):
    """Block-sparse reading of a full cache."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        query_dim, kv_dim = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.q_proj = Linear(hidden_size, query_dim, "q" in c.bias)
        self.k_proj = Linear(hidden_size, kv_dim, "k" in c.bias)
        self.v_proj = Linear(hidden_size, kv_dim, "v" in c.bias)
        self.o_proj = Linear(query_dim, hidden_size, "o" in c.bias)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, H, G = self.c, self.c.num_attention_heads, self.c.num_key_value_heads
        C = c.moba_chunk_size
        q = rotary(heads(self.q_proj(x), H), step.positions)  # (B, H, T, d_h)
        new = rotary(heads(self.k_proj(x), G), step.positions)  # (B, G, T, d_h)
        k = append(cache, "key", new, 2)  # (B, G, S, d_h)
        v = append(cache, "value", heads(self.v_proj(x), G), 2)
        order = self.sight.kept(step, cache)
        seen = self.sight.mask(step.order, order)  # (T, S)
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        scores = self._scores(q, k, new, cache, step)  # (B, G, H / G, T, n)
        own = step.order // C  # (T,) the query's own block
        block = torch.arange(scores.shape[-1], device=x.device)
        before = (block[None, :] < own[:, None]).expand_as(scores)
        chosen = top(scores, c.moba_topk - 1, before)  # (B, G, H / G, T, n)
        chosen = torch.cat((chosen, chosen.new_zeros((*chosen.shape[:-1], 1))), -1)
        of_key = (order // C).clamp(max=scores.shape[-1])  # (S,) each key's block
        read = chosen[..., of_key] | (order // C == own[:, None])  # (B, G, H / G, T, S)
        return self.o_proj(merged(attend(q, k, v, read & seen)))

    def _scores(self, q: Tensor, k: Tensor, new: Tensor, cache: State | None, step: Step) -> Tensor:
        """(B, G, H / G, T, n): every query against the summary of every block."""
        G, C = self.c.num_key_value_heads, self.c.moba_chunk_size
        q = unfold(q, 1, (G, -1))  # (B, G, H / G, T, d_h)
        if self.c.block_keys == "min_max":
            low = self._extremes("min_key", new, cache, step)[
                :, :, None, None
            ]  # (B, G, 1, 1, n, d_h)
            high = self._extremes("max_key", new, cache, step)[:, :, None, None]
            each = q.unsqueeze(-2)  # (B, G, H / G, T, 1, d_h)
            return torch.maximum(each * low, each * high).sum(-1)
        whole = k.shape[2] // C * C
        if self.c.block_keys == "mean":
            kept = cache.get("mean_key") if cache is not None else None
            first = kept.shape[2] * C if kept is not None else 0
            mean = unfold(k[:, :, first:whole], 2, (-1, C)).mean(3)  # of blocks closed just now
            mean = append(cache, "mean_key", mean, 2)  # (B, G, n, d_h)
            remember(cache, "mean_key", mean)
        else:
            mean = unfold(k[:, :, :whole], 2, (-1, C)).mean(3)
        return q @ mean.unsqueeze(2).transpose(-1, -2)

    def _extremes(self, name: str, new: Tensor, cache: State | None, step: Step) -> Tensor:
        """(B, G, n, d_h): the smallest or largest key of each page, brought up to date."""
        C = self.c.moba_chunk_size
        low = name == "min_key"
        kept = cache[name] if cache is not None and name in cache else new[:, :, :0]
        pages = list(kept.unbind(2))
        for t in range(new.shape[2]):
            key = new[:, :, t]
            if (step.start + t) % C == 0:
                pages.append(key)
            else:
                pages[-1] = torch.minimum(pages[-1], key) if low else torch.maximum(pages[-1], key)
        extremes = torch.stack(pages, 2)
        remember(cache, name, extremes)
        return extremes
