"""mLSTM: a matrix memory per head with exponential gates, kept stable by their running maximum.

    m_t = max(log f_t + m_(t-1), i_t)          f' = e^(log f_t + m_(t-1) - m_t)   i' = e^(i_t - m_t)
    C_t = f' C_(t-1) + i' k_t v_t^T            n_t = f' n_(t-1) + i' k_t
    h_t = q_t C_t / max(|q_t . n_t|, e^(-m_t))

Kept: ``memory`` (B, n_h, d_qk, d_v), ``normalizer`` (B, n_h, d_qk), ``stabilizer`` (B, n_h, 1).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.recurrent.mlstm import Mlstm as Fields
from kvcalc.verify.parts import Linear, Module, State, Step, recall, retain, unfold, up, weight


class MultiHeadNorm(Module):
    """A LayerNorm over each head, with a weight for every channel and a bias if asked for."""

    def __init__(self, num_heads: int, width: int, bias: bool) -> None:
        super().__init__()
        self.num_heads, self.biased = num_heads, bias
        self.weight = weight(width)
        if bias:
            self.bias = weight(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, n_h * d_v)."""
        y = F.group_norm(up(x).flatten(0, 1), self.num_heads).view_as(x).to(x.dtype) * self.weight
        return y + self.bias if self.biased else y


class Mlstm(Module):
    """An mLSTM mixer, token by token."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        n_h, bias = c.num_heads, c.use_bias
        keys, values = n_h * c.qk_head_dim, n_h * c.v_head_dim
        self.q = Linear(hidden_size, keys, bias)
        self.k = Linear(hidden_size, keys, bias)
        self.v = Linear(hidden_size, values, bias)
        self.ogate_preact = Linear(hidden_size, values, bias)
        self.igate_preact = Linear(hidden_size, n_h, bias=True)
        self.fgate_preact = Linear(hidden_size, n_h, bias=True)
        self.multihead_norm = MultiHeadNorm(n_h, values, bias)
        self.out_proj = Linear(values, hidden_size, bias)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c, n_h, d_qk = self.c, self.c.num_heads, self.c.qk_head_dim
        q, k, v = (unfold(up(part(x)), -1, (n_h, -1)) for part in (self.q, self.k, self.v))
        k = k * d_qk**-0.5  # (B, T, n_h, d_qk)
        i = up(self.igate_preact(x))[..., None]  # (B, T, n_h, 1)
        log_f = F.logsigmoid(up(self.fgate_preact(x)))[..., None]
        C = recall(cache, "memory", x, c.state_dtype, n_h, d_qk, c.v_head_dim)
        n = recall(cache, "normalizer", x, c.state_dtype, n_h, d_qk)
        m = recall(cache, "stabilizer", x, c.state_dtype, n_h, 1)
        outs = []
        for t in range(x.shape[1]):
            before, m = m, torch.maximum(log_f[:, t] + m, i[:, t])  # (B, n_h, 1)
            f, new = (log_f[:, t] + before - m).exp(), (i[:, t] - m).exp()
            C = f[..., None] * C + (new * k[:, t])[..., None] * v[:, t, :, None]
            n = f * n + new * k[:, t]
            scale = torch.maximum((q[:, t] * n).sum(-1, keepdim=True).abs(), (-m).exp())
            outs.append((q[:, t, :, None] @ C).squeeze(2) / scale)  # (B, n_h, d_v)
        for name, state in (("memory", C), ("normalizer", n), ("stabilizer", m)):
            retain(cache, name, x, c.state_dtype, state)
        h = self.multihead_norm(torch.stack(outs, 1).flatten(2).to(x.dtype))
        return self.out_proj(h * self.ogate_preact(x).sigmoid())
