"""Cross-attention: keys and values of the encoder's tokens, made once.

    y = W_o softmax(Q K_enc^T / sqrt(d_h)) V_enc

Kept: ``cross_key`` and ``cross_value`` (B, G, S_enc, d_h), from the first pass on. The encoder's
output itself is not kept: later passes run without it.
"""

from torch import Tensor

from kvcalc.attention.cross import CrossAttention as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Norm,
    State,
    Step,
    attend,
    heads,
    merged,
    remember,
    weight,
)


class CrossAttention(Module):
    """Attention of the decoder's tokens to the encoder's."""

    def __init__(self, c: Fields, hidden_size: int, encoder_hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, G, d_h = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = Linear(hidden_size, H * d_h, "q" in c.bias)
        self.k_proj = Linear(encoder_hidden_size, G * d_h, "k" in c.bias)
        self.v_proj = Linear(encoder_hidden_size, G * d_h, "v" in c.bias)
        self.o_proj = Linear(H * d_h, hidden_size, "o" in c.bias)
        if c.qk_norm == "per_head":
            self.q_norm = Norm(d_h)
            self.k_norm = Norm(d_h)
        if c.gated:
            self.attn_gate = weight(1)
            self.mlp_gate = weight(1)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, G = self.c, self.c.num_key_value_heads
        q = heads(self.q_proj(x), c.num_attention_heads)  # (B, H, T, d_h)
        if c.qk_norm == "per_head":
            q = self.q_norm(q)
        if cache is not None and "cross_key" in cache:
            k, v = cache["cross_key"], cache["cross_value"]
        else:
            if step.encoded is None:
                raise ValueError("the first pass of a decoder needs the encoder's output")
            k = heads(self.k_proj(step.encoded), G)  # (B, G, S_enc, d_h)
            v = heads(self.v_proj(step.encoded), G)  # (B, G, S_enc, d_h)
            if c.qk_norm == "per_head":
                k = self.k_norm(k)
            remember(cache, "cross_key", k)
            remember(cache, "cross_value", v)
        every = q.new_ones((q.shape[2], k.shape[2])).bool()
        y = self.o_proj(merged(attend(q, k, v, every)))
        return self.attn_gate.tanh() * y if c.gated else y
