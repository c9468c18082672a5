"""CCA: narrow Q, K and V; Q and K pass two convolutions; half of V is the token before's.

    [q; k]_t = conv_grouped(conv_depthwise([W_q x; W_k x]))_t + means
    v_t = [W_v1 x_t ; W_v2 x_(t-1)]          y = W_o softmax(q k^T / sqrt(d_h)) v

Each head of q and k has length sqrt(d_h); k is scaled by a learned number per head. Kept: ``key``
(B, n_kv, S, d_h) after its rotary embedding and ``value``, of the tokens that a later query may see;
``conv_state`` (B, channels, K_0 + K_1 - 2); ``delayed_value`` (B, n_kv * d_h / 2).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.attention.cca import CompressedConvolutionalAttention as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Sight,
    State,
    Step,
    append,
    attend,
    merged,
    remember,
    rms,
    rotary,
    unfold,
    weight,
)


class Conv(Module):
    """A convolution over (B, channels, S) within ``groups`` of channels, with a bias."""

    def __init__(self, channels: int, groups: int, kernel: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = weight(channels, channels // groups, kernel)
        self.bias = weight(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, groups=self.groups)


class Projection(Module):
    """Q, K and V of new tokens, from their inputs and what the tokens before left."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, G, d, bias = c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.attention_bias
        self.q_proj = Linear(hidden_size, H * d, bias)
        self.k_proj = Linear(hidden_size, G * d, bias)
        self.v_proj_current = Linear(hidden_size, G * d // 2, bias)
        self.v_proj_delayed = Linear(hidden_size, G * d // 2, bias)
        self.conv_qk_depthwise = Conv((H + G) * d, (H + G) * d, c.cca_time0)
        self.conv_qk_grouped = Conv((H + G) * d, H + G, c.cca_time1)

    def project(self, x: Tensor, cache: State | None) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, T, H, d_h), k and v (B, T, G, d_h)."""
        c = self.c
        H, G, d = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        q, k = self.q_proj(x), self.k_proj(x)
        own = unfold(q, -1, (G, H // G, d))  # (B, T, G, H / G, d_h)
        q_mean = (own + unfold(k, -1, (G, 1, d))) / 2
        columns = self._columns(torch.cat((q, k), -1).transpose(1, 2), cache)
        mixed = self.conv_qk_grouped(self.conv_qk_depthwise(columns)).transpose(1, 2)
        q, k = unfold(mixed, -1, (H + G, d)).split_with_sizes((H, G), 2)
        return (
            q + q_mean.flatten(2, 3),
            k + q_mean.mean(3),
            unfold(self._values(x, cache), -1, (G, d)),
        )

    def _columns(self, x: Tensor, cache: State | None) -> Tensor:
        """What the convolutions read: the inputs before, zeros at first, and the new ones."""
        kept = self.c.cca_time0 + self.c.cca_time1 - 2
        past = None if cache is None else cache.get("conv_state")
        columns = torch.cat((x.new_zeros(*x.shape[:2], kept) if past is None else past, x), 2)
        remember(cache, "conv_state", columns[:, :, columns.shape[2] - kept :])
        return columns

    def _values(self, x: Tensor, cache: State | None) -> Tensor:
        """Half of the channels from each token, half from the one before it: (B, T, G * d_h)."""
        delayed = self.v_proj_delayed(x)
        past = None if cache is None else cache.get("delayed_value")
        if past is None:
            past = self.v_proj_delayed(torch.zeros_like(x[:, 0]))
        before = torch.cat((past.unsqueeze(1), delayed[:, :-1]), 1)
        remember(cache, "delayed_value", delayed[:, -1])
        return torch.cat((self.v_proj_current(x), before), -1)


class KeyScale(Module):
    """Heads of length sqrt(d_h); keys times a learned number each."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.temp = weight(num_heads)


class CompressedConvolutionalAttention(Module):
    """Grouped-query attention on narrow heads that a convolution has mixed."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.qkv_proj = Projection(c, hidden_size)
        self.qk_norm = KeyScale(c.num_key_value_heads)
        self.o_proj = Linear(c.num_attention_heads * c.head_dim, hidden_size, c.attention_bias)
        self.sight = Sight(c.sliding_window)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        q, k, v = self.qkv_proj.project(x, cache)
        k = rms(k) * self.qk_norm.temp[:, None]
        q = rotary(rms(q).transpose(1, 2), step.positions)  # (B, H, T, d_h)
        k = append(cache, "key", rotary(k.transpose(1, 2), step.positions), 2)  # (B, G, S, d_h)
        v = append(cache, "value", v.transpose(1, 2), 2)
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))  # (T, S)
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        return self.o_proj(merged(attend(q, k, v, mask)))
