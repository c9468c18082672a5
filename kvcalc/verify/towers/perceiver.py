"""The perceiver resampler: latents that read the patches and themselves."""

import torch
from torch import Tensor, nn

from kvcalc.towers.perceiver import Perceiver as Fields
from kvcalc.verify.parts import Module, Norm, weight
from kvcalc.verify.towers.parts import Attention, Ffn, TowerModule, like


class PerceiverLayer(Module):
    """Cross-attention over patches and latents, then a gated layer."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width = c.hidden_size
        self.input_latents_norm, self.input_context_norm = Norm(width), Norm(width)
        self.post_attention_norm = Norm(width)
        self.attention = Attention(
            width, width, c.num_attention_heads, bias=False, head_dim=c.head_dim,
            kv_heads=c.num_key_value_heads,
        )  # fmt: skip
        self.ffn = Ffn(width, c.intermediate_size, bias=False, gated=True)

    def forward(self, x: Tensor, patches: Tensor) -> Tensor:
        own = self.input_latents_norm(x)
        x = x + self.attention(own, torch.cat([self.input_context_norm(patches), own], 1))
        return x + self.ffn(self.post_attention_norm(x))


class Perceiver(TowerModule):
    """A few latents for any number of patches."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        self.latents = weight(c.num_latents, c.hidden_size)
        self.layers = nn.ModuleList(PerceiverLayer(c) for _ in range(c.num_hidden_layers))
        self.final_norm = Norm(c.hidden_size)

    def example(self) -> Tensor:
        """Three patches as wide as the latents."""
        return like(self, 1, 3, self.c.hidden_size)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.latents.expand(patches.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, patches)
        return self.final_norm(x)
