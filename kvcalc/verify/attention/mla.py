"""MLA: one latent and one rotary key per token; keys and values are rebuilt, or absorbed.

    c_t = RMSNorm(W_dkv x)      k_R = RoPE(W_kr x)      K = [W_uk c, k_R]      V = W_uv c

Kept, layout latent: ``latent`` (B, S, d_c) and ``rope_key`` (B, S, d_R). Kept, layout expanded:
``key`` (B, H, S, d_n + d_R) and ``value`` (B, H, S, d_v).

With a latent cache K and V are never rebuilt: q . (W_uk c) = (W_uk^T q) . c, so the query is moved
into the latent's space and the weighted latent is moved out by W_uv (DeepSeek-V2, section 2.1.2).
Without a cache they are rebuilt, so the two passes also check that absorption is exact.
"""

import torch
from torch import Tensor

from kvcalc.attention.mla import MultiHeadLatentAttention as Fields
from kvcalc.verify.attention.dsa import Indexer
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
)


class MultiHeadLatentAttention(Module):
    """Multi-head latent attention in both layouts."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, d_c, d_n = c.num_attention_heads, c.kv_lora_rank, c.qk_nope_head_dim
        d_R, d_v = c.qk_rope_head_dim, c.v_head_dim
        width = c.attention_hidden_size or hidden_size
        if c.q_lora_rank is None:
            self.q_proj = Linear(width, H * (d_n + d_R))
        else:
            self.q_a_proj = Linear(width, c.q_lora_rank, "q_a" in c.bias)
            self.q_a_layernorm = Norm(c.q_lora_rank)
            self.q_b_proj = Linear(c.q_lora_rank, H * (d_n + d_R))
        self.kv_a_proj_with_mqa = Linear(width, d_c + d_R, "kv_a" in c.bias)
        self.kv_a_layernorm = Norm(d_c)
        self.kv_b_proj = Linear(d_c, H * (d_n + d_v))
        self.o_proj = Linear(H * d_v, hidden_size, "o" in c.bias)
        if c.output_gate in ("per_element", "per_head"):
            self.g_proj = Linear(hidden_size, H if c.output_gate == "per_head" else H * d_v)
        if c.indexer is not None and c.q_lora_rank is not None:
            self.indexer = Indexer(c.indexer, hidden_size, c.q_lora_rank)
        self.sight = Sight(c.sliding_window)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        H, d_c, d_n, d_R = (
            c.num_attention_heads, c.kv_lora_rank, c.qk_nope_head_dim, c.qk_rope_head_dim,
        )  # fmt: skip
        q_latent = x if c.q_lora_rank is None else self.q_a_layernorm(self.q_a_proj(x))
        q = heads(self.q_proj(x) if c.q_lora_rank is None else self.q_b_proj(q_latent), H)
        q_n, q_R = q.split_with_sizes((d_n, d_R), -1)  # (B, H, T, d_n), (B, H, T, d_R)
        q_R = rotary(q_R, step.positions)
        latent, k_R = self.kv_a_proj_with_mqa(x).split_with_sizes((d_c, d_R), -1)
        latent = self.kv_a_layernorm(latent)  # (B, T, d_c)
        k_R = rotary(k_R, step.positions)  # (B, T, d_R), one for all heads
        order = self.sight.kept(step, cache)
        mask = self.sight.mask(step.order, order)  # (T, S)
        if c.indexer is not None:
            mask = mask & self.indexer(x, q_latent, cache, step, self.sight)[:, None, None]
        if c.cache_layout == "expanded":
            y = self._expanded(torch.cat((q_n, q_R), -1), latent, k_R, mask, cache, step)
        else:
            latent = append(cache, "latent", latent, 1)  # (B, S, d_c)
            self.sight.keep(cache, "latent", latent, 1, step)
            if d_R:
                k_R = append(cache, "rope_key", k_R, 1)  # (B, S, d_R)
                self.sight.keep(cache, "rope_key", k_R, 1, step)
            else:
                k_R = latent[..., :0]
            if cache is None:
                k, v = self._rebuilt(latent, k_R)
                y = attend(torch.cat((q_n, q_R), -1), k, v, mask)
            else:
                y = self._absorbed(q_n, q_R, latent, k_R, mask)
        if c.output_gate == "per_head":
            y = y * self.g_proj(x).sigmoid().transpose(1, 2).unsqueeze(-1)
        y = merged(y)  # (B, T, H * d_v)
        if c.output_gate == "per_element":
            y = y * self.g_proj(x).sigmoid()
        return self.o_proj(y)

    def _rebuilt(self, latent: Tensor, k_R: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, S, d_n + d_R) and values (B, H, S, d_v) of every head."""
        H, d_n, d_v = self.c.num_attention_heads, self.c.qk_nope_head_dim, self.c.v_head_dim
        k_n, v = heads(self.kv_b_proj(latent), H).split_with_sizes((d_n, d_v), -1)
        return torch.cat((k_n, k_R.unsqueeze(1).expand(-1, H, -1, -1)), -1), v

    def _expanded(
        self, q: Tensor, latent: Tensor, k_R: Tensor, mask: Tensor,
        cache: State | None, step: Step,
    ) -> Tensor:  # fmt: skip
        k, v = self._rebuilt(latent, k_R)
        k, v = append(cache, "key", k, 2), append(cache, "value", v, 2)
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        return attend(q, k, v, mask)

    def _absorbed(
        self, q_n: Tensor, q_R: Tensor, latent: Tensor, k_R: Tensor, mask: Tensor
    ) -> Tensor:
        """Attention in the latent's space: every head reads the one latent, as MQA does."""
        c = self.c
        up_weights = self.kv_b_proj.weight.view(
            c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank
        )
        W_uk, W_uv = up_weights.split_with_sizes((c.qk_nope_head_dim, c.v_head_dim), 1)
        q_c = torch.einsum("bhtn,hnc->bhtc", q_n, W_uk)  # (B, H, T, d_c)
        q = torch.cat((q_c, q_R), -1)  # (B, H, T, d_c + d_R)
        k = torch.cat((latent, k_R), -1).unsqueeze(1)  # (B, 1, S, d_c + d_R)
        scale = (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5
        y_c = attend(q, k, latent.unsqueeze(1), mask, scale=scale)  # (B, H, T, d_c)
        return torch.einsum("bhtc,hvc->bhtv", y_c, W_uv)  # (B, H, T, d_v)
