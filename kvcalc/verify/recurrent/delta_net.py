"""DeltaNet: a key-by-value matrix per head, corrected by the delta rule.

    S_t = (I - b_t k_t k_t^T) S_(t-1) + b_t k_t v_t^T          o_t = S_t^T q_t

Kept: ``q_conv_state`` and ``k_conv_state`` (B, h d_k, K - 1), ``v_conv_state`` (B, h d_v, K - 1), and
``recurrent_state`` (B, h, d_k, d_v).
"""

from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.delta_net import DeltaNet as Fields
from kvcalc.verify.parts import (
    CausalConv,
    Linear,
    Module,
    Norm,
    State,
    Step,
    delta_rule,
    recall,
    retain,
    unfold,
    up,
)


class DeltaNet(Module):
    """A DeltaNet mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        keys, values = c.num_heads * c.head_k_dim, c.num_heads * c.head_v_dim
        self.q_proj, self.k_proj = Linear(hidden_size, keys), Linear(hidden_size, keys)
        self.v_proj = Linear(hidden_size, values)
        self.q_conv1d = CausalConv(keys, c.conv_size, bias=False)
        self.k_conv1d = CausalConv(keys, c.conv_size, bias=False)
        self.v_conv1d = CausalConv(values, c.conv_size, bias=False)
        self.b_proj = Linear(hidden_size, c.num_heads)
        if c.use_gate:
            self.g_proj = Linear(hidden_size, values)
        self.o_norm = Norm(c.head_v_dim)
        self.o_proj = Linear(values, hidden_size)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, h = self.c, self.c.num_heads
        q = F.normalize(self._mixed("q", self.q_conv1d, self.q_proj(x), cache), dim=-1)
        k = F.normalize(self._mixed("k", self.k_conv1d, self.k_proj(x), cache), dim=-1)
        v = self._mixed("v", self.v_conv1d, self.v_proj(x), cache)  # (B, T, h, d_v)
        b = up(self.b_proj(x)).sigmoid()  # (B, T, h)
        S = recall(cache, "recurrent_state", x, c.state_dtype, h, c.head_k_dim, c.head_v_dim)
        o, S = delta_rule(S, q, k, v, b)
        retain(cache, "recurrent_state", x, c.state_dtype, S)
        o = self.o_norm(o.to(x.dtype))  # (B, T, h, d_v)
        if c.use_gate:
            o = o * unfold(F.silu(self.g_proj(x)), -1, (h, c.head_v_dim))
        return self.o_proj(o.flatten(2))

    def _mixed(self, name: str, conv: CausalConv, x: Tensor, cache: State | None) -> Tensor:
        """One of q, k and v after its convolution, per head; its columns have a name of their own."""
        own: State | None = None
        if cache is not None:
            kept = cache.get(f"{name}_conv_state")
            own = {} if kept is None else {"conv_state": kept}
        y = up(F.silu(conv(x, own)))
        if cache is not None and own is not None:
            cache[f"{name}_conv_state"] = own["conv_state"]
        return unfold(y, -1, (self.c.num_heads, -1))
