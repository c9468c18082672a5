"""Reference modules of towers and projectors, one file per kind, and the input that each reads.

A module is made from the fields of a tower and never reads its lists of tensors. ``forward`` is what the
equation of the kind says; ``example`` is the smallest input that passes every weight.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kvcalc.verify.towers.parts import TowerModule

if TYPE_CHECKING:
    from kvcalc.towers import Tower

# kind -> (module, class), as in kvcalc/towers/__init__.py.
MODULES: dict[str, tuple[str, str]] = {
    "vit": ("kvcalc.verify.towers.vit", "VisionTransformer"),
    "sam": ("kvcalc.verify.towers.sam", "SegmentAnything"),
    "mobilenet": ("kvcalc.verify.towers.mobilenet", "MobileNet"),
    "speech": ("kvcalc.verify.towers.speech", "SpeechEncoder"),
    "conformer": ("kvcalc.verify.towers.conformer", "ConformerEncoder"),
    "gated_conformer": ("kvcalc.verify.towers.gated_conformer", "GatedConformer"),
    "usm": ("kvcalc.verify.towers.usm", "UniversalSpeech"),
    "mlp": ("kvcalc.verify.towers.mlp", "Mlp"),
    "perceiver": ("kvcalc.verify.towers.perceiver", "Perceiver"),
    "qformer": ("kvcalc.verify.towers.qformer", "QFormer"),
    "sequence": ("kvcalc.verify.towers.sequence", "Sequence"),
}


def module_of(tower: "Tower") -> TowerModule:
    """The reference module of a tower."""
    module, name = MODULES[tower.kind]
    made: TowerModule = getattr(import_module(module), name)(tower)
    return made
