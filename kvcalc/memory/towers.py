"""The weights of towers and projectors, as the language model's: groups of named tensors, and counts.

A format for a whole model applies to its layers' matrices; a quantised checkpoint keeps its towers as
published, and so do the rows here: bf16 (or fp16, fp32 where that is asked for). A program that makes
files of its own says otherwise: llama.cpp writes a projector file, mlx-lm drops the towers.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from kvcalc.errors import UsageError
from kvcalc.frozen import changed, remembered
from kvcalc.memory.inventory import ParamGroup, parameter_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component
from kvcalc.towers.tensors import TowerGroup

if TYPE_CHECKING:
    from kvcalc.towers import Tower

# What a tower counts as, in the order that answers name them.
TOWER_COMPONENTS: tuple[Component, ...] = ("vision", "audio", "projector")


@remembered
def tower_groups(spec: ModelSpec) -> tuple[ParamGroup, ...]:
    """Every weight of the towers, in the order of the spec; they stand whole on the first stage."""
    return tuple(
        _group(name, group) for name, tower in spec.towers.items() for group in _groups_of(tower)
    )


@lru_cache(maxsize=1024)
def _groups_of(tower: "Tower") -> tuple[TowerGroup, ...]:
    """Remembered: models of one family have the same towers."""
    return tuple(group for group in tower.groups() if group.tensors)


def _group(name: str, group: TowerGroup) -> ParamGroup:
    return ParamGroup(f"towers.{name}.{group.prefix}", group.layers, group.tensors, "first")


def tower_words(spec: ModelSpec) -> str:
    """``419,816,304 parameters of vision, projector``."""
    counts: dict[str, int] = {}
    for group in tower_groups(spec):
        for tensor in group.tensors:
            if not tensor.buffer:
                number = tensor.numel * group.count
                counts[tensor.component] = counts.get(tensor.component, 0) + number
    return f"{sum(counts.values()):,} parameters of {', '.join(counts)}"


def language_model_of(spec: ModelSpec) -> tuple[ModelSpec, tuple[str, ...]]:
    """The language model alone, and what to say of the towers that it goes without."""
    if not spec.towers:
        return spec, ()
    counted = sum(
        tensor.numel * group.count
        for group in tower_groups(spec)
        for tensor in group.tensors
        if not tensor.buffer
    )
    # Rules of the checkpoint's formats that are about the towers go with them.
    kept = [
        changed(rule, tensors=names)
        for rule in spec.weight_formats
        if (names := tuple(name for name in rule.tensors if not name.startswith("towers.")))
    ]
    alone = changed(spec, towers={}, weight_formats=tuple(kept))
    said = ", ".join(spec.towers)
    return alone, (f"the language model alone: {counted:,} parameters of {said} not counted",)


def only_of(spec: ModelSpec, only: str | None) -> tuple[ModelSpec, tuple[str, ...]]:
    """The part of a model that is asked for. Raises UsageError for a part that is none."""
    if only is None:
        return spec, ()
    if only != "language":
        raise UsageError(f"only {only}: a part that can be asked for alone is language")
    return language_model_of(spec)


@remembered
def whole_groups(spec: ModelSpec) -> tuple[ParamGroup, ...]:
    """The language model's weights and the towers'."""
    return (*parameter_groups(spec), *tower_groups(spec))
