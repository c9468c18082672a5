"""The weights of towers and projectors, as the language model's: groups of named tensors, and counts.

A format for a whole model applies to its layers' matrices; a quantised checkpoint keeps its towers as
published, and so do the rows here: bf16 (or fp16, fp32 where that is asked for). A program that makes
files of its own says otherwise: llama.cpp writes a projector file, mlx-lm drops the towers.
"""

from kvcalc.frozen import remembered
from kvcalc.memory.inventory import ParamGroup, parameter_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component
from kvcalc.towers.tensors import TowerGroup

# What a tower counts as, in the order that answers name them.
TOWER_COMPONENTS: tuple[Component, ...] = ("vision", "audio", "projector")


@remembered
def tower_groups(spec: ModelSpec) -> tuple[ParamGroup, ...]:
    """Every weight of the towers, in the order of the spec; they stand whole on the first stage."""
    return tuple(
        _group(name, group)
        for name, tower in spec.towers.items()
        for group in tower.groups()
        if group.tensors
    )


def _group(name: str, group: TowerGroup) -> ParamGroup:
    return ParamGroup(f"towers.{name}.{group.prefix}", group.layers, group.tensors, "first")


@remembered
def whole_groups(spec: ModelSpec) -> tuple[ParamGroup, ...]:
    """The language model's weights and the towers'."""
    return (*parameter_groups(spec), *tower_groups(spec))
