"""The MLP projector: a norm, linear layers, a gated layer, a norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.mlp import Mlp as Fields
from kvcalc.verify.parts import Linear, Module, Norm
from kvcalc.verify.towers.parts import TowerModule, like


class One(Module):
    """One projector. ``patches`` rows of the norm's width stand side by side in the first matrix."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        self.width = c.norm_size or c.in_features
        self.norm = Norm(self.width, c.norm)
        width = c.in_features
        for index, size in enumerate(c.sizes, 1):
            setattr(self, f"linear_{index}", Linear(width, size, c.bias))
            width = size
        if c.gated is not None:
            out = width if c.gated_out is None else c.gated_out
            self.gate_proj = Linear(width, c.gated)
            self.up_proj = Linear(width, c.gated)
            self.down_proj = Linear(c.gated, out)
            width = out
        self.final_norm = Norm(width, c.final_norm)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, patches, the norm's width)."""
        x = self.norm(x).flatten(2)
        for index in range(1, len(self.c.sizes) + 1):
            x = getattr(self, f"linear_{index}")(F.gelu(x) if index > 1 else x)
        if self.c.gated is not None:
            x = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.final_norm(x)


class Mlp(TowerModule):
    """One projector, or several for several layers of a tower."""

    one: One

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        if c.copies is None:
            one = One(c)
            for name, module in one.named_children():
                self.add_module(name, module)
            # Named as its parts are, and listed nowhere else.
            object.__setattr__(self, "one", one)
        else:
            self.copies = nn.ModuleList(One(c) for _ in range(c.copies))

    def example(self) -> Tensor:
        """One row of patches."""
        width = self.c.norm_size or self.c.in_features
        return like(self, 1, 1, self.c.in_features // width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.c.copies is None:
            made: Tensor = self.one(x)
            return made
        return torch.stack([each(x) for each in self.copies]).sum(0)
