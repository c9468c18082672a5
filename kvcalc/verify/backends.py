"""Two ways to compute attention, with the memory that libraries' own take: eager and SDPA.

*eager*  scores in the activation dtype, an fp32 softmax: what transformers' eager attention does
         (modeling_llama.py, eager_attention_forward), 2 + 4 + 4 = 10 bytes a score in bf16;
*sdpa*   ``torch.nn.functional.scaled_dot_product_attention``, whose kernels write no scores.

On the meta device SDPA would be traced as the plain formula, so its kernels' outputs stand in for it:
the result, a logarithm per query and the mask in the activation dtype.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.verify import parts


@contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """All attention computed by ``eager`` or ``sdpa`` for a while."""
    token = parts.backend.set({"eager": eager, "sdpa": sdpa}[name])
    try:
        yield
    finally:
        parts.backend.reset(token)


def eager(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
    sinks: Tensor | None, bias: Tensor | None, scale: float | None,
) -> Tensor:  # fmt: skip
    """softmax(Q K^T * scale + mask) V with repeated K and V."""
    num_heads = q.shape[1]
    k, v = _repeated(k, num_heads), _repeated(v, num_heads)  # (B, H, S, d)
    w = q @ k.transpose(-1, -2)  # (B, H, T, S)
    w = w * (q.shape[-1] ** -0.5 if scale is None else scale)
    w = w + _additive(_per_head(mask, num_heads), bias, w.dtype)
    if sinks is None:
        return w.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
    column = sinks.view(1, -1, 1, 1).expand(w.shape[0], -1, w.shape[2], 1)
    w = torch.cat((w, column), -1)
    return w.softmax(-1, dtype=torch.float32).to(v.dtype)[..., :-1] @ v


def sdpa(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
    sinks: Tensor | None, bias: Tensor | None, scale: float | None,
) -> Tensor:  # fmt: skip
    """The fused kernel; sink logits it does not have, so layers with those stay eager."""
    if sinks is not None:
        return eager(q, k, v, mask, sinks, bias, scale)
    num_heads = q.shape[1]
    k, v = _repeated(k, num_heads), _repeated(v, num_heads)
    seen = _per_head(mask, num_heads)
    if q.device.type == "meta":
        added = torch.empty(seen.shape, dtype=q.dtype, device="meta")
        sums = torch.empty(q.shape[:3], dtype=torch.float32, device="meta")
        y = torch.empty((*q.shape[:3], v.shape[-1]), dtype=v.dtype, device="meta")
        del added, sums
        return y
    attn_mask = seen if bias is None else _additive(seen, bias, q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, scale=scale)


def _repeated(x: Tensor, num_heads: int) -> Tensor:
    """(B, G, S, d) -> (B, H, S, d)."""
    groups = x.shape[1]
    return x if groups == num_heads else x.repeat_interleave(num_heads // groups, 1)


def _per_head(mask: Tensor, num_heads: int) -> Tensor:
    """(T, S), or (B, G | 1, H / G | 1, T, S) -> (B, H | 1, T, S)."""
    if mask.dim() < 5:
        return mask
    groups, each = mask.shape[1:3]
    if groups == each == 1:
        return mask[:, 0]
    return mask.expand(-1, -1, num_heads // groups, -1, -1).flatten(1, 2)


def _additive(seen: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: the bias where a token is seen, the least number elsewhere."""
    least = torch.finfo(dtype).min
    if bias is not None:
        return bias.to(dtype).masked_fill(~seen, least)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, least)
