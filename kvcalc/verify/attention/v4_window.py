"""The window layers of DeepSeek-V4: one vector per token is key and value for all heads.

    q = W_qb RMSNorm(W_qa x)      c_t = RoPE(RMSNorm(W_kv x))      y = RoPE^-1(softmax(q C^T) C)

Kept: ``key_value`` (B, S, c), the last W tokens. The vector is rotated as a key and read as a value,
so the rotation is undone on the output, at the query's position.
"""

import torch
from torch import Tensor

from kvcalc.attention.csa import CompressedSparseAttention
from kvcalc.attention.hca import HeavilyCompressedAttention
from kvcalc.attention.v4_window import SharedKeyValueWindow as Fields
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
    rotary,
    unfold,
    weight,
)


class SharedKeyValueWindow(Module):
    """The window branch alone; the compressed layers build on it."""

    def __init__(
        self, c: Fields | CompressedSparseAttention | HeavilyCompressedAttention, hidden_size: int
    ) -> None:
        super().__init__()
        self.H, self.groups = c.num_attention_heads, c.o_groups
        query_dim = c.num_attention_heads * c.head_dim
        self.q_a_proj = Linear(hidden_size, c.q_lora_rank)
        self.q_a_norm = Norm(c.q_lora_rank)
        self.q_b_proj = Linear(c.q_lora_rank, query_dim)
        self.kv_proj = Linear(hidden_size, c.head_dim)
        self.kv_norm = Norm(c.head_dim)
        self.o_a_proj = Linear(query_dim // c.o_groups, c.o_groups * c.o_lora_rank)
        self.o_b_proj = Linear(c.o_groups * c.o_lora_rank, hidden_size)
        self.sinks = weight(c.num_attention_heads)
        self.sight = Sight(c.sliding_window)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        q_latent = self.q_a_norm(self.q_a_proj(x))  # (B, T, q_lora_rank)
        kv, mask = self.window(x, cache, step)
        more, visible = self.compressed(x, q_latent, cache, step)
        if more is not None and visible is not None:
            kv = torch.cat((kv, more), 1)  # (B, S + entries, c)
            mask = torch.cat((mask.expand(*visible.shape[:-1], -1), visible), -1)
        q = rotary(heads(self.q_b_proj(q_latent), self.H), step.positions)  # (B, H, T, c)
        shared = kv.unsqueeze(1)  # (B, 1, S, c): key and value at once
        y = rotary(attend(q, shared, shared, mask, self.sinks), -step.positions)
        return self.project(y)

    def window(self, x: Tensor, cache: State | None, step: Step) -> tuple[Tensor, Tensor]:
        """The window's vectors (B, S, c) and which of them each query sees (T, S)."""
        kv = rotary(self.kv_norm(self.kv_proj(x)), step.positions)  # (B, T, c)
        kv = append(cache, "key_value", kv, 1)
        order = self.sight.kept(step, cache)
        self.sight.keep(cache, "key_value", kv, 1, step)
        return kv, self.sight.mask(step.order, order)

    def compressed(
        self, x: Tensor, q_latent: Tensor, cache: State | None, step: Step
    ) -> tuple[Tensor | None, Tensor | None]:
        """Compressed entries beside the window and who sees them; none here."""
        return None, None

    def project(self, y: Tensor) -> Tensor:
        """(B, H, T, c) -> (B, T, d): each group of heads through its rows of o_a, then all mixed."""
        batch, _, tokens, _ = y.shape
        y = y.transpose(1, 2).reshape(batch, tokens, self.groups, -1)  # (B, T, g, H / g * c)
        W = unfold(self.o_a_proj.weight, 0, (self.groups, -1))  # (g, o_lora_rank, H / g * c)
        return self.o_b_proj(torch.einsum("btgi,goi->btgo", y, W).flatten(2))
