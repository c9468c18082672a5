"""Named layers: each reads an input of its own width, and all outputs are added up."""

import torch
from torch import Tensor, nn

from kvcalc.towers.sequence import Sequence as Fields
from kvcalc.towers.sequence import Step
from kvcalc.verify.parts import Module, weight
from kvcalc.verify.towers.parts import TowerModule, like


class Named(Module):
    """A weight, and a bias where there is one."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.op = step.op
        self.weight = weight(*step.sizes)
        self.bias = weight(step.sizes[0]) if step.bias else None

    def forward(self) -> Tensor:
        """What the layer makes of ones: a row of its sums; a table's first row."""
        rows = self.weight[0] if self.op == "table" else self.weight.flatten(1).sum(1) if (
            self.weight.dim() > 1
        ) else self.weight  # fmt: skip
        return rows.sum() + (0 if self.bias is None else self.bias.sum())


class Holder(Module):
    """What a dotted name passes through on its way."""


class One(Module):
    """The steps once, under their own names."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.leaves: list[str] = []
        for step in c.steps:
            *path, leaf = step.name.split(".")
            home: nn.Module = self
            for part in path:
                if not hasattr(home, part):
                    home.add_module(part, Holder())
                home = getattr(home, part)
            if step.op == "tensor":
                home.register_parameter(leaf, weight(*step.sizes))
            elif hasattr(home, leaf):
                raise ValueError(f"{step.name} stands twice")
            else:
                home.add_module(leaf, Named(step))

    def forward(self) -> Tensor:
        found = [module() for module in self.modules() if isinstance(module, Named)]
        inside = {id(p) for m in self.modules() if isinstance(m, Named) for p in m.parameters()}
        found += [p.sum() for p in self.parameters() if id(p) not in inside]
        return torch.stack(found).sum()


class Sequence(TowerModule):
    """Named layers, once or in equal copies."""

    one: One

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        if c.copies is None:
            one = One(c)
            for name, module in one.named_children():
                self.add_module(name, module)
            for name, parameter in one.named_parameters(recurse=False):
                self.register_parameter(name, parameter)
            object.__setattr__(self, "one", one)
        else:
            self.copies = nn.ModuleList(One(c) for _ in range(c.copies))

    def example(self) -> Tensor:
        """One number: the layers of a sequence have no input in common."""
        return like(self, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.c.copies is None:
            made: Tensor = self.one()
            return x + made
        return x + torch.stack([each() for each in self.copies]).sum()
