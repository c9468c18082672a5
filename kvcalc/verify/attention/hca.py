"""HCA: one entry per m' tokens beside the window, all of them read.

    C_comp = sum over the block of softmax(Z + B) * C          C = W_kv x, Z = W_z x, B by place

Kept beside the window: ``compressed_key_value`` (B, S // m', c), and of the unfinished block
``buffer_kv`` and ``buffer_gate`` (B, S mod m', c). An entry is seen from the token that closes it.
"""

import torch
from torch import Tensor

from kvcalc.attention.hca import HeavilyCompressedAttention as Fields
from kvcalc.verify.attention.v4_window import SharedKeyValueWindow
from kvcalc.verify.parts import (
    Linear,
    Module,
    Norm,
    State,
    Step,
    append,
    remember,
    rotary,
    unfold,
    up,
    weight,
)


class Compressor(Module):
    """Pools blocks of tokens into entries, with one series or two that overlap.

    names: of the entries, of the buffers and of the overlap in the layer's cache.
    """

    def __init__(
        self, hidden_size: int, width: int, block: int, series: int, entries: str, prefix: str
    ) -> None:
        super().__init__()
        self.width, self.block, self.series = width, block, series
        self.entries, self.prefix = entries, prefix
        self.position_bias = weight(block, series * width)
        self.kv_proj = Linear(hidden_size, series * width)
        self.gate_proj = Linear(hidden_size, series * width)
        self.kv_norm = Norm(width)

    def pooled(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        """(B, entries, width): all entries so far; closes the blocks that x fills."""
        place = step.order % self.block
        buffer: dict[str, Tensor] = {}
        for part, new in (("kv", self.kv_proj(x)),
                          ("gate", self.gate_proj(x) + self.position_bias[place])):  # fmt: skip
            name = f"{self.prefix}buffer_{part}"
            buffer[part] = append(cache, name, new, 1)  # (B, rest + T, series * width)
        whole = buffer["kv"].shape[1] // self.block * self.block
        for part, tensor in buffer.items():
            remember(cache, f"{self.prefix}buffer_{part}", tensor[:, whole:])
        blocks = {part: unfold(tensor[:, :whole], 1, (-1, self.block))
                  for part, tensor in buffer.items()}  # fmt: skip
        kv, gate = blocks["kv"], blocks["gate"]  # (B, n, m, series * width)
        if self.series == 2:
            kv, gate = self.overlapping(kv, gate, cache)  # (B, n, 2 m, width)
        entry = (up(gate).softmax(2) * up(kv)).sum(2).to(x.dtype)  # (B, n, width)
        first = step.start // self.block + torch.arange(entry.shape[1], device=x.device)
        entry = rotary(self.kv_norm(entry), first * self.block)
        entry = append(cache, self.entries, entry, 1)
        remember(cache, self.entries, entry)
        return entry

    def overlapping(self, kv: Tensor, gate: Tensor, cache: State | None) -> tuple[Tensor, Tensor]:
        """Series a of the block before beside series b of each block; the last block's a is kept."""
        parts = []
        for name, tensor, nothing in (("kv", kv, 0.0), ("gate", gate, -torch.inf)):
            a, b = tensor.chunk(2, -1)  # (B, n, m, width)
            kept = f"{self.prefix}overlap_{name}"
            before = append(cache, kept, a.new_zeros((a.shape[0], 0, a.shape[3])), 1)
            # The first block has none before it.
            none = torch.full_like(b[:, :1], nothing)
            earlier = before.unsqueeze(1) if before.shape[1] else none
            parts.append(torch.cat((torch.cat((earlier, a), 1)[:, : a.shape[1]], b), 2))
            remember(cache, kept, a[:, -1] if a.shape[1] else before)
        return parts[0], parts[1]

    def visible(self, step: Step, entries: int) -> Tensor:
        """(T, entries): closed at or before the query."""
        last = torch.arange(1, entries + 1, device=step.order.device) * self.block - 1
        return step.order[:, None] >= last[None, :]


class HeavilyCompressedAttention(SharedKeyValueWindow):
    """The window and every compressed entry."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__(c, hidden_size)
        self.compressor = Compressor(
            hidden_size, c.head_dim, c.compress_rate, 1, "compressed_key_value", ""
        )

    def compressed(
        self, x: Tensor, q_latent: Tensor, cache: State | None, step: Step
    ) -> tuple[Tensor | None, Tensor | None]:
        entries = self.compressor.pooled(x, cache, step)  # (B, n, c)
        return entries, self.compressor.visible(step, entries.shape[1])
