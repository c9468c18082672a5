"""The speech encoder: convolutions over mel frames, positions, layers and a norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.speech import SpeechEncoder as Fields
from kvcalc.verify.parts import Embedding, Linear, Norm
from kvcalc.verify.towers.parts import TowerModule, TransformerLayer, like


class SpeechEncoder(TowerModule):
    """Convolutions over mel frames and a transformer."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c, width, taps = c, c.hidden_size, c.kernel
        if c.stem == "conv1d":
            self.conv1 = nn.Conv1d(c.num_mel_bins, width, taps, padding=taps // 2)
            self.conv2 = nn.Conv1d(width, width, taps, stride=2, padding=taps // 2)
        else:
            inner = c.conv_channels or 0
            self.conv2d1 = nn.Conv2d(1, inner, taps, stride=2, padding=taps // 2)
            self.conv2d2 = nn.Conv2d(inner, inner, taps, stride=2, padding=taps // 2)
            self.conv2d3 = nn.Conv2d(inner, inner, taps, stride=2, padding=taps // 2)
            self.conv_out = Linear(c.conv_out_features or 0, width)
        if c.positions is not None:
            self.position_embedding = Embedding(c.positions, width)
        self.layers = nn.ModuleList(TransformerLayer(c) for _ in range(c.num_hidden_layers))
        self.final_norm = Norm(width, c.norm if c.final_norm else "none")

    def example(self) -> Tensor:
        """Sixteen frames."""
        return like(self, 1, self.c.num_mel_bins, 16)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, mel bins, frames)."""
        if self.c.stem == "conv1d":
            x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).transpose(1, 2)  # (B, T, d)
        else:
            y = x[:, None]
            for conv in (self.conv2d1, self.conv2d2, self.conv2d3):
                y = F.gelu(conv(y))  # (B, c, bins, frames), each halved
            x = self.conv_out(y.permute(0, 3, 1, 2).flatten(2))
        if self.c.positions is not None:
            rows = torch.arange(x.shape[1], device=x.device) % self.c.positions
            x = x + self.position_embedding(rows)
        for layer in self.layers:
            x = layer(x)
        return self.final_norm(x)
