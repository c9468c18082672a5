"""The MLP projector: linear layers from a tower's width to the language model's, and norms.

    y = W_n act(... act(W_1 norm(x)))        parameters: sum of in * out (+ out with biases) + norms

in_features is what one row of the first matrix reads: the tower's width, times the patches that are
merged before it (pixel shuffle, spatial merge: 4 of 2 x 2). A merge that comes before the norm widens
the norm, too (InternVL); one that comes after it does not (Qwen2-VL): norm_size says which.
A gated projector has gate, up and down as a feed-forward layer has (Idefics2, GLM-4V).

Sources: transformers models/llava, internvl, qwen2_vl (PatchMerger), qwen3_vl (deepstack mergers:
``copies: 3``), mistral3, idefics3, gemma3, voxtral, qwen2_audio: their projectors. LLaVA: Liu et al.
2023, arXiv 2310.03744.

Worked number: LLaVA-1.5-7B, in_features 1024, sizes [4096, 4096], biases: 1024 * 4096 + 4096 +
4096 * 4096 + 4096 = 20,979,712.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner, Modules
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerNorm, TowerPart, dense, norm


@frozen(kw_only=True)
class Mlp:
    """Linear layers one after another, with a norm in front, behind, or neither.

    Fields:
        kind: mlp.
        component: projector, or the tower that it lies in.
        in_features: what the first matrix reads: the tower's width times the patches merged.
        sizes: how wide each linear layer's output is, in order.
        bias: every linear layer has a bias.
        norm: the kind of the norm in front.
        norm_size: its width, where that is not in_features: one patch's.
        final_norm: the kind of a norm over the last output.
        gated: width inside a gated feed-forward layer that follows the linear layers.
        gated_out: its output's width, where that is not its input's.
        copies: how many such projectors there are, each with weights of its own.
    """

    kind: Literal["mlp"]
    component: TowerPart = "projector"
    in_features: Inner
    sizes: tuple[int, ...] = ()
    bias: bool = True
    norm: TowerNorm = "none"
    norm_size: Inner | None = None
    final_norm: TowerNorm = "none"
    gated: Inner | None = None
    gated_out: Inner | None = None
    copies: Modules | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if not self.sizes and self.gated is None:
            yield "sizes", "a projector has linear layers: give their output widths, or gated"
        if self.norm == "none" and self.norm_size is not None:
            yield "norm_size", "there is no norm in front: norm is none"
        if self.gated is None and self.gated_out is not None:
            yield "gated_out", "there is no gated layer"

    def groups(self) -> Iterator[TowerGroup]:
        """The norm, the linear layers in order, and what follows them."""
        prefix = "copies.{}." if self.copies is not None else ""
        yield TowerGroup(prefix, tuple(range(self.copies or 0)), tuple(self._tensors()))

    def _tensors(self) -> Iterator[ParamTensor]:
        part, width = self.component, self.in_features
        yield from norm("norm", self.norm, self.norm_size or width, part)
        for index, size in enumerate(self.sizes, 1):
            yield from dense(f"linear_{index}", size, width, part, bias=self.bias)
            width = size
        if self.gated is not None:
            out = self.gated_out or width
            yield from dense("gate_proj", self.gated, width, part)
            yield from dense("up_proj", self.gated, width, part)
            yield from dense("down_proj", out, self.gated, part)
            width = out
        yield from norm("final_norm", self.final_norm, width, part)
