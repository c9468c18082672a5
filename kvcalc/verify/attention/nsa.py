"""NSA: compressed blocks, selected blocks and a window, gated and added.

    compressed  blocks of l tokens that begin every s, as means or through a matrix (equation 7)
    selected    blocks of raw tokens, scored by the attention to the compressed ones (equations 8-12)
    window      the last w tokens

A block is selected from what its query may see: compressed blocks that closed at or before it.
The query's own block is always among the selected.

Kept: ``key``, ``value`` (B, G, S, d) of every token; ``compressed_key``, ``compressed_value`` of
every closed block. With keys and values of their own for each branch also ``window_key``,
``window_value``, and the last l - 1 raw keys and values of the compressed branch
(``unfinished_key``, ``unfinished_value``), which the next block needs.
"""

import torch
from torch import Tensor

from kvcalc.attention.nsa import NativeSparseAttention as Fields
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
    up,
    weight,
)


class NativeSparseAttention(Module):
    """Native sparse attention."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, G, d_k = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        block = c.kernel_size
        d_v = d_k if c.v_head_dim is None else c.v_head_dim
        self.separate = c.branches == "separate"
        self.q_proj = Linear(hidden_size, H * d_k, "q" in c.bias)
        for branch in ("cmp_", "slc_", "win_") if self.separate else ("",):
            self.add_module(f"{branch}k_proj", Linear(hidden_size, G * d_k, "k" in c.bias))
            self.add_module(f"{branch}v_proj", Linear(hidden_size, G * d_v, "v" in c.bias))
        self.g_proj = Linear(hidden_size, 3 * H if c.gate == "per_head" else 3)
        if c.compression == "linear":
            self.compress_key = weight(G, block * d_k, d_k)
            self.compress_value = weight(G, block * d_v, d_v)
            self.intra_block_pe = weight(G, block, d_k)
        self.o_proj = Linear(H * d_v, hidden_size)
        self.every, self.near, self.tail = Sight(), Sight(c.window_size), Sight(max(1, block - 1))

    def _pair(self, branch: str, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Keys (B, G, T, d_k), rotated, and values (B, G, T, d_v) of a branch for the new tokens."""
        prefix = f"{branch}_" if self.separate else ""
        G = self.c.num_key_value_heads
        k = heads(self.get_submodule(f"{prefix}k_proj")(x), G)
        return rotary(k, step.positions), heads(self.get_submodule(f"{prefix}v_proj")(x), G)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, H = self.c, self.c.num_attention_heads
        q = rotary(heads(self.q_proj(x), H), step.positions)  # (B, H, T, d_k)
        k, v, seen, order = self._grown("", *self._pair("slc", x, step), self.every, cache, step)
        ck, cv = self._compressed(x, k, v, cache, step)  # (B, G, n, d)
        last = torch.arange(ck.shape[2], device=x.device) * c.kernel_stride + c.kernel_size - 1
        closed = step.order[:, None] >= last[None, :]  # (T, n)
        compressed = attend(q, ck, cv, closed)  # (B, H, T, d_v)
        chosen = self._selected(q, ck, closed, step, order)  # (B, G, 1, T, S)
        selected = attend(q, k, v, chosen & seen)
        if self.separate:
            wk, wv, near, _ = self._grown(
                "window_", *self._pair("win", x, step), self.near, cache, step
            )
        else:
            wk, wv, near = k, v, self.near.mask(step.order, order)
        window = attend(q, wk, wv, near)
        gates = self.g_proj(x).sigmoid()  # (B, T, [H *] 3): a head's three stand together
        gates = unfold(gates, -1, (-1, 3)).permute(3, 0, 2, 1).unsqueeze(-1)  # (3, B, H | 1, T, 1)
        y = gates[0] * compressed + gates[1] * selected + gates[2] * window
        return self.o_proj(merged(y))

    def _grown(
        self, prefix: str, k: Tensor, v: Tensor, sight: Sight, cache: State | None, step: Step
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kept and new keys and values, who sees them (T, S), and their places (S,)."""
        k = append(cache, f"{prefix}key", k, 2)
        v = append(cache, f"{prefix}value", v, 2)
        order = sight.kept(step, cache)
        sight.keep(cache, f"{prefix}key", k, 2, step)
        sight.keep(cache, f"{prefix}value", v, 2, step)
        return k, v, sight.mask(step.order, order), order

    def _compressed(
        self, x: Tensor, k: Tensor, v: Tensor, cache: State | None, step: Step
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of all closed blocks; those that the new tokens close are made here."""
        c = self.c
        begin = 0  # the place of the first raw key at hand
        if self.separate:
            k, v = self._pair("cmp", x, step)
            if c.kernel_size > 1:
                k, v, _, order = self._grown("unfinished_", k, v, self.tail, cache, step)
                begin = step.start + x.shape[1] - order.shape[0]
            else:
                begin = step.start
        done = 0
        if cache is not None and "compressed_key" in cache:
            done = cache["compressed_key"].shape[2]
        closed = max(0, (step.start + x.shape[1] - c.kernel_size) // c.kernel_stride + 1)
        keys, values = [k[:, :, :0]], [v[:, :, :0]]
        for block in range(done, closed):
            first = block * c.kernel_stride - begin
            keys.append(self._pooled(k[:, :, first : first + c.kernel_size], "key"))
            values.append(self._pooled(v[:, :, first : first + c.kernel_size], "value"))
        ck = append(cache, "compressed_key", torch.cat(keys, 2), 2)
        cv = append(cache, "compressed_value", torch.cat(values, 2), 2)
        remember(cache, "compressed_key", ck)
        remember(cache, "compressed_value", cv)
        return ck, cv

    def _pooled(self, block: Tensor, role: str) -> Tensor:
        """(B, G, l, d) -> (B, G, 1, d)."""
        if self.c.compression == "mean":
            return block.mean(2, keepdim=True)
        W = self.compress_key if role == "key" else self.compress_value
        if role == "key":
            block = block + self.intra_block_pe
        return torch.einsum("bgi,gio->bgo", block.flatten(2), W).unsqueeze(2)

    def _selected(self, q: Tensor, ck: Tensor, closed: Tensor, step: Step, order: Tensor) -> Tensor:
        """(B, G, 1, T, S), true where a group's queries read the raw token."""
        c, G = self.c, self.c.num_key_value_heads
        grouped = unfold(q, 1, (G, -1))  # (B, G, H / G, T, d_k)
        scores = up(grouped @ ck.unsqueeze(2).transpose(-1, -2)) * c.head_dim**-0.5
        p = scores.masked_fill(~closed, -torch.inf).softmax(-1).masked_fill(~closed, 0.0)
        p = p.sum(2)  # (B, G, T, n): all heads of a group select alike (equation 10)
        of_key = order // c.block_size  # (S,) each raw token's block
        own = step.order // c.block_size  # (T,)
        blocks = torch.arange(int(order.shape[0] - 1) // c.block_size + 1, device=q.device)
        start = torch.arange(ck.shape[2], device=q.device) * c.kernel_stride  # (n,)
        overlap = ((start[:, None] < (blocks + 1)[None, :] * c.block_size)
                   & (start[:, None] + c.kernel_size > blocks[None, :] * c.block_size))  # fmt: skip
        block_scores = p @ overlap.to(p.dtype)  # (B, G, T, blocks)
        # The query's own block comes first, whatever its score.
        block_scores = block_scores.masked_fill(own[:, None] == blocks[None, :], torch.inf)
        visible = (blocks[None, :] <= own[:, None]).expand_as(block_scores)
        chosen = top(block_scores, c.topk, visible)  # (B, G, T, blocks)
        return chosen[..., of_key].unsqueeze(2)
