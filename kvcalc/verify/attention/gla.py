"""GLA: several narrow latents per token, each for its share of the heads.

    [c_1 .. c_n, k_R] = W_dkv x          K_g = [W_uk,g c_g, RoPE(k_R)]          V_g = W_uv,g c_g

Kept: ``latent`` (B, n_c, S, d_c) after their norms, and ``rope_key`` (B, S, d_R). Keys and values
are rebuilt from them in every step.
"""

import torch
from torch import Tensor

from kvcalc.attention.gla import GroupedLatentAttention as Fields
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


class GroupedLatentAttention(Module):
    """Grouped latent attention; the norms and up-projections of the latents are numbered from 1."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, n_c, d_h, d_c, d_R = (
            c.num_attention_heads, c.num_latent_heads, c.head_dim, c.kv_lora_rank, c.qk_rope_dim,
        )  # fmt: skip
        self.W_dQ = Linear(hidden_size, c.q_lora_rank, "q_a" in c.bias)
        self.q_norm = Norm(c.q_lora_rank)
        self.W_uQ_rope = Linear(c.q_lora_rank, H * (d_h + d_R), "q_b" in c.bias)
        self.W_dKV = Linear(hidden_size, n_c * d_c + d_R, "kv_a" in c.bias)
        self.norms: list[Norm] = []
        self.W_ukv: list[Linear] = []
        for number in range(1, n_c + 1):
            self.norms.append(Norm(d_c))
            self.W_ukv.append(Linear(d_c, 2 * H * d_h // n_c, "kv_b" in c.bias))
            self.add_module(f"kv_norm_{number}", self.norms[-1])
            self.add_module(f"W_ukv_{number}", self.W_ukv[-1])
        self.o_proj = Linear(H * d_h, hidden_size, "o" in c.bias)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        H, n_c, d_c = c.num_attention_heads, c.num_latent_heads, c.kv_lora_rank
        q = heads(self.W_uQ_rope(self.q_norm(self.W_dQ(x))), H)  # (B, H, T, d_h + d_R)
        q_n, q_R = q.split_with_sizes((c.head_dim, c.qk_rope_dim), -1)
        q = torch.cat((q_n, rotary(q_R, step.positions)), -1)
        *latents, k_R = self.W_dKV(x).split_with_sizes((*[d_c] * n_c, c.qk_rope_dim), -1)
        normed = [norm(latent) for norm, latent in zip(self.norms, latents, strict=True)]
        latent = append(cache, "latent", torch.stack(normed, 1), 2)  # (B, n_c, S, d_c)
        k_R = append(cache, "rope_key", rotary(k_R, step.positions), 1)  # (B, S, d_R)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        self.sight.keep(cache, "latent", latent, 2, step)
        self.sight.keep(cache, "rope_key", k_R, 1, step)
        keys, values = [], []
        for index, W in enumerate(self.W_ukv):
            k_n, v = heads(W(latent[:, index]), 2 * H // n_c).chunk(2, 1)  # (B, H / n_c, S, d_h)
            keys.append(torch.cat((k_n, k_R.unsqueeze(1).expand(-1, H // n_c, -1, -1)), -1))
            values.append(v)
        return self.o_proj(merged(attend(q, torch.cat(keys, 1), torch.cat(values, 1), mask)))
