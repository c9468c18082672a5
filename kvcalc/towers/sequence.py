"""Tensors one after another: what is no transformer and no MLP, step by step.

    linear  sizes [out, in]               weight (out, in), bias (out,)
    conv    sizes [out, in / groups, taps...]     weight of that shape, bias (out,)
    norm    sizes [width]                 weight (width,), bias (width,)
    table   sizes [rows, width]           weight (rows, width): an embedding, a codebook, positions
    tensor  sizes as they are             one tensor without a name of its own: gates, scales, queries

The parameters of a step are the product of its sizes, and its first size again where it has a bias.
For patch embeddings without layers (Fuyu), tables of visual words (Ovis), convolutions between a tower
and its projector (GLM-4V's downsample), depthwise blocks. The source of each is the reference class of
the model, which the spec's ``source`` names.

Worked number: GLM-4.1V's downsample, conv [4096, 1536, 2, 2] with a bias: 25,169,920.
"""

from collections.abc import Iterator
from math import prod
from typing import Literal

from kvcalc.counts import Modules
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart


@frozen(kw_only=True)
class Step:
    """One layer of a sequence.

    Fields:
        name: what the reference code calls it.
        op: linear, conv, norm, table or tensor.
        sizes: the weight's shape, its outputs first.
        bias: it has a bias as long as the first size.
    """

    name: str
    op: Literal["linear", "conv", "norm", "table", "tensor"] = "linear"
    sizes: tuple[int, ...]
    bias: bool = False


@frozen(kw_only=True)
class Sequence:
    """Named layers one after another, once or in equal copies.

    Fields:
        kind: sequence.
        component: the part of the model that it counts as.
        steps: its layers, in order.
        copies: how many equal sequences there are, each with weights of its own.
    """

    kind: Literal["sequence"]
    component: TowerPart = "projector"
    steps: tuple[Step, ...]
    copies: Modules | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if not self.steps:
            yield "steps", "a sequence has steps"
        seen: set[str] = set()
        for index, step in enumerate(self.steps):
            axes = {"linear": 2, "norm": 1, "table": 2}.get(step.op)
            if axes is not None and len(step.sizes) != axes:
                yield f"steps[{index}].sizes", f"a {step.op} has {axes} sizes"
            if step.name in seen:
                yield f"steps[{index}].name", f"'{step.name}' already stands above"
            seen.add(step.name)

    def groups(self) -> Iterator[TowerGroup]:
        """The steps' tensors."""
        prefix = "copies.{}." if self.copies is not None else ""
        yield TowerGroup(prefix, tuple(range(self.copies or 0)), tuple(self._tensors()))

    def _tensors(self) -> Iterator[ParamTensor]:
        for step in self.steps:
            name = step.name if step.op == "tensor" else f"{step.name}.weight"
            matrix = step.op in ("linear",) and prod(step.sizes) > 0
            yield ParamTensor(name, tuple(step.sizes), self.component, quantised=matrix)
            if step.bias:
                yield ParamTensor(f"{step.name}.bias", tuple(step.sizes[:1]), self.component)
