"""The vision transformer: patches, learned tokens and positions, layers, a norm, a pooling head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.vit import VisionTransformer as Fields
from kvcalc.verify.parts import Embedding, Module, Norm, weight
from kvcalc.verify.towers.parts import Attention, Ffn, TowerModule, TransformerLayer, like


class Patches(Module):
    """A patch's pixels through one matrix, laid out as a convolution's or as a linear layer's."""

    def __init__(self, c: Fields, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = weight(*shape)
        self.bias = weight(c.hidden_size) if c.patch_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, pixels of a patch)."""
        return F.linear(x, self.weight.flatten(1), self.bias)


class Pooling(Module):
    """SigLIP's head: one learned query over all patches, a norm and an MLP."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.probe = weight(1, 1, c.hidden_size)
        self.attention = Attention(c.hidden_size, c.hidden_size, c.num_attention_heads, bias=True)
        self.norm = Norm(c.hidden_size, "layernorm")
        self.ffn = Ffn(c.hidden_size, c.intermediate_size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.probe.expand(x.shape[0], -1, -1), x)
        return y + self.ffn(self.norm(y))


class VisionTransformer(TowerModule):
    """A transformer over the patches of an image."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c, width = c, c.hidden_size
        side = c.patch_size
        axes = [
            c.num_channels,
            *([c.temporal_patch_size] if c.temporal_patch_size else []),
            side,
            side,
        ]
        self.pixels = 1
        for size in axes:
            self.pixels *= size
        if c.patch_norm:
            self.patch_norm_in = Norm(self.pixels, c.norm)
            self.patch_norm_out = Norm(width, c.norm)
        if c.patch_embedding != "none":
            shape = (width, *axes) if c.patch_embedding == "conv" else (width, self.pixels)
            self.patch_embedding = Patches(c, shape)
        if c.tokens is not None:
            self.tokens = weight(c.tokens, width)
        if c.positions is not None:
            self.position_embedding = Embedding(c.positions, width)
        if c.embedding_norm:
            self.embedding_norm = Norm(width, c.norm)
        self.layers = nn.ModuleList(TransformerLayer(c) for _ in range(c.num_hidden_layers))
        self.final_norm = Norm(width, c.norm if c.final_norm else "none")
        self.pooling = Pooling(c) if c.pooling == "attention" else None

    def example(self) -> Tensor:
        """Two patches: pixels, or vectors where another tower made them."""
        embedded = self.c.patch_embedding == "none"
        return like(self, 1, 2, self.c.hidden_size if embedded else self.pixels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, pixels of a patch), patch by patch."""
        c = self.c
        x = self.patch_norm_in(x) if c.patch_norm else x
        x = self.patch_embedding(x) if c.patch_embedding != "none" else x
        x = self.patch_norm_out(x) if c.patch_norm else x
        if c.tokens is not None:
            x = torch.cat([self.tokens.expand(x.shape[0], -1, -1), x], 1)
        if c.positions is not None:
            # More positions than the table has are spread over it, as an interpolation would.
            rows = torch.arange(x.shape[1], device=x.device) % c.positions
            x = x + self.position_embedding(rows)
        x = self.embedding_norm(x) if c.embedding_norm else x
        for layer in self.layers:
            x = layer(x)
        x = self.final_norm(x)
        return x if self.pooling is None else torch.cat([x, self.pooling(x)], 1)
