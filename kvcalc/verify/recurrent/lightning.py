"""Lightning attention: linear attention with a fixed decay per head.

    kv_t = l_h kv_(t-1) + k_t v_t^T          o_t = q_t kv_t          l_h = exp(-2^(-8 (h + 1) / H))

Kept: ``kv_state`` (B, H, d_h, d_h). The decays follow from the head and are no weights.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.lightning import LightningAttention as Fields
from kvcalc.verify.parts import Linear, Module, Norm, State, Step, recall, retain, unfold, up


class LightningAttention(Module):
    """A lightning attention mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        inner = c.num_attention_heads * c.head_dim
        self.norm = Norm(inner)
        self.qkv_proj = Linear(hidden_size, 3 * inner)
        self.out_proj = Linear(inner, hidden_size)
        self.output_gate = Linear(hidden_size, inner)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, H, d_h = self.c, self.c.num_attention_heads, self.c.head_dim
        q, k, v = unfold(up(F.silu(self.qkv_proj(x))), -1, (H, 3, d_h)).unbind(3)
        head = self.rank * H + torch.arange(1, H + 1, device=x.device, dtype=q.dtype)
        decay = torch.exp(-(2.0 ** (-8 * head / (H * self.num_ranks))))[:, None, None]  # (H, 1, 1)
        kv = recall(cache, "kv_state", x, c.state_dtype, H, d_h, d_h)
        outs = []
        for t in range(x.shape[1]):
            kv = decay * kv + k[:, t, :, :, None] * v[:, t, :, None]
            outs.append((q[:, t, :, None] @ kv).squeeze(2))  # (B, H, d_h)
        retain(cache, "kv_state", x, c.state_dtype, kv)
        o = self.norm(torch.stack(outs, 1).flatten(2).to(x.dtype))  # (B, T, H * d_h)
        return self.out_proj(o * self.output_gate(x).sigmoid())
