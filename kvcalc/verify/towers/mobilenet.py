"""MobileNet-V5: fused, inverted and attended blocks, and a fusion of the last stages."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.mobilenet import ConvBlock
from kvcalc.towers.mobilenet import MobileNet as Fields
from kvcalc.verify.parts import Module, Norm, weight
from kvcalc.verify.towers.parts import TowerModule, like


class ConvNorm(Module):
    """A convolution without a bias, or with one, and a norm over its channels."""

    def __init__(
        self, width: int, out: int, taps: int, *, depthwise: bool = False, bias: bool = False
    ) -> None:
        super().__init__()
        groups = width if depthwise else 1
        self.conv = nn.Conv2d(width, out, taps, padding="same", groups=groups, bias=bias)
        self.norm = Norm(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OneHeadAttention(Module):
    """Attention of several query heads over one head of keys and values, over an image."""

    def __init__(self, c: ConvBlock, width: int) -> None:
        super().__init__()
        self.heads, self.head_dim = c.heads or 1, c.head_dim or 1
        wide = self.heads * self.head_dim
        self.norm, self.gamma = Norm(width), weight(width)
        self.q_proj = nn.Conv2d(width, wide, 1, bias=False)
        self.o_proj = nn.Conv2d(wide, width, 1, bias=False)
        self.k_proj = nn.Conv2d(width, self.head_dim, 1, bias=False)
        self.v_proj = nn.Conv2d(width, self.head_dim, 1, bias=False)
        self.smaller = c.kv_kernel is not None
        if c.kv_kernel is not None:
            self.k_down = ConvNorm(width, width, c.kv_kernel, depthwise=True)
            self.v_down = ConvNorm(width, width, c.kv_kernel, depthwise=True)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, d, rows, columns)."""
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        batch, _, rows, columns = x.shape
        q = self.q_proj(y).view(batch, self.heads, self.head_dim, -1)  # (B, h, c, T)
        k = self.k_proj(self.k_down(y) if self.smaller else y).flatten(2)  # (B, c, S)
        v = self.v_proj(self.v_down(y) if self.smaller else y).flatten(2)
        scores = torch.einsum("bhct,bcs->bhts", q, k) * self.head_dim**-0.5
        made = torch.einsum("bhts,bcs->bhct", scores.softmax(-1), v)
        out: Tensor = self.o_proj(made.reshape(batch, -1, rows, columns))
        return x + self.gamma[:, None, None] * out


class Block(Module):
    """A fused block, or an inverted one with what may stand in front and in its middle."""

    def __init__(self, c: ConvBlock, width: int) -> None:
        super().__init__()
        inner = c.expansion * width
        self.up = ConvNorm(width, inner, c.kernel or 1)
        self.down = ConvNorm(inner, c.channels, 1)
        self.inverted = c.kernel is None
        self.attention = None if c.heads is None else OneHeadAttention(c, width)
        taps = c.start_kernel
        self.start = None if taps is None else ConvNorm(width, width, taps, depthwise=True)
        taps = c.mid_kernel
        self.mid = None if taps is None else ConvNorm(inner, inner, taps, depthwise=True)
        if self.inverted:
            self.gamma = weight(c.channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.attention is not None:
            x = self.attention(x)
        y = F.gelu(self.up(x if self.start is None else self.start(x)))
        y = self.down(y if self.mid is None else F.gelu(self.mid(y)))
        y = self.gamma[:, None, None] * y if self.inverted else y
        return x + y if x.shape == y.shape else y


class Fusion(Module):
    """The last stages side by side, wider, and narrower again."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        inner = c.fused_channels * c.fusion_expansion
        self.up, self.down = ConvNorm(c.fused_channels, inner, 1), ConvNorm(inner, c.output_size, 1)
        self.norm = Norm(c.output_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.down(F.gelu(self.up(x))).permute(0, 2, 3, 1))


class MobileNet(TowerModule):
    """The stem, the blocks and the fusion. Strides change no weight: the image keeps its size."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c, width = c, c.stem_channels
        self.stem = ConvNorm(c.num_channels, width, 3, bias=True)
        self.blocks = nn.ModuleList()
        for block in c.blocks:
            for _ in range(block.repeat):
                self.blocks.append(Block(block, width))
                width = block.channels
        self.fusion = Fusion(c)

    def example(self) -> Tensor:
        """An image of three pixels a side."""
        return like(self, 1, self.c.num_channels, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, colours, rows, columns)."""
        x = F.gelu(self.stem(x))
        stages: dict[int, Tensor] = {}
        for block in self.blocks:
            x = block(x)
            stages[x.shape[1]] = x
        side_by_side = torch.cat(list(stages.values()), 1)
        return self.fusion(side_by_side[:, -self.c.fused_channels :])
