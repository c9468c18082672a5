"""SAM's image encoder: windowed and global layers with tables of relative positions, and a neck."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.sam import SegmentAnything as Fields
from kvcalc.verify.parts import Linear, Module, Norm, weight
from kvcalc.verify.towers.parts import Ffn, TowerModule, like


class RelativeAttention(Module):
    """Attention over a square of s x s patches, with a bias by the distance in rows and columns."""

    def __init__(self, c: Fields, side: int) -> None:
        super().__init__()
        self.heads, self.side = c.num_attention_heads, side
        self.head_dim = c.hidden_size // c.num_attention_heads
        width = c.hidden_size
        self.q_proj = Linear(width, width, c.qkv_bias)
        self.k_proj = Linear(width, width, c.qkv_bias)
        self.v_proj = Linear(width, width, c.qkv_bias)
        self.o_proj = Linear(width, width, True)
        if c.relative_positions:
            self.rel_pos_h = weight(2 * side - 1, self.head_dim)
            self.rel_pos_w = weight(2 * side - 1, self.head_dim)
        self.relative = c.relative_positions

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, rows, columns, d)."""
        batch, rows, columns, _ = x.shape
        flat = x.flatten(1, 2)
        parts = [proj(flat) for proj in (self.q_proj, self.k_proj, self.v_proj)]
        q, k, v = (
            part.view(batch, -1, self.heads, self.head_dim).transpose(1, 2) for part in parts
        )
        scores = (q @ k.transpose(2, 3)) * self.head_dim**-0.5  # (B, h, T, T)
        if self.relative:
            where = torch.arange(rows * columns, device=x.device)
            for table, place in (
                (self.rel_pos_h, where // columns),
                (self.rel_pos_w, where % columns),
            ):
                apart = place[:, None] - place[None] + self.side - 1  # (T, T)
                scores = scores + torch.einsum("bhtc,tsc->bhts", q, table[apart])
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.o_proj(y).view(batch, rows, columns, -1)


class SamLayer(Module):
    """Attention and a feed-forward layer, a norm in front of each."""

    def __init__(self, c: Fields, side: int) -> None:
        super().__init__()
        self.attention = RelativeAttention(c, side)
        self.ffn = Ffn(c.hidden_size, c.mlp_dim, bias=True)
        self.norms = nn.ModuleList(Norm(c.hidden_size, "layernorm") for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.ffn(self.norms[1](x))


class Neck(Module):
    """Two convolutions, each with a norm over its channels."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        out = c.output_channels
        self.conv1 = nn.Conv2d(c.hidden_size, out, 1, bias=False)
        self.norm1 = Norm(out, "layernorm")
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = Norm(out, "layernorm")

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, rows, columns, d)."""
        y = self.norm1(self.conv1(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.norm2(self.conv2(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class SegmentAnything(TowerModule):
    """Windowed and global layers over patches, and a neck."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        self.patch_embedding = nn.Conv2d(
            c.num_channels, c.hidden_size, c.patch_size, stride=c.patch_size
        )
        if c.absolute_positions:
            self.position_embedding = weight(c.patches, c.patches, c.hidden_size)
        whole = set(c.global_attn_indexes)
        self.layers = nn.ModuleList(
            SamLayer(c, c.patches if index in whole else c.window_size)
            for index in range(c.num_hidden_layers)
        )
        self.neck = Neck(c)

    def example(self) -> Tensor:
        """An image of two by two patches, which is a window by itself."""
        side = 2 * self.c.patch_size
        return like(self, 1, self.c.num_channels, side, side)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding(x).permute(0, 2, 3, 1)  # (B, rows, columns, d)
        if self.c.absolute_positions:
            x = x + self.position_embedding[: x.shape[1], : x.shape[2]]
        for layer in self.layers:
            x = layer(x)
        return F.gelu(self.neck(x))
