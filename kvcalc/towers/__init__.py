"""Towers and projectors: what turns images and sound into embeddings. One file per kind.

How a tower becomes a number:

    towers: {vision: {kind: vit, ...}, projector: {kind: mlp, ...}}        the spec's section
        -> Tower.groups()       named tensors of one layer, and how many layers own them
        -> tower_groups(spec)   the same with the entry's name in front (kvcalc/memory/towers.py)
        -> the ledger           a row per tensor and format, beside the language model's
        -> the answers          parameters.total and by_component, weights.bytes, explain, show

The language model is never counted from here, and no tower keeps a cache: it sees its whole input
once, and what it makes of it joins the context as tokens (kvcalc/media).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcalc.towers.conformer import ConformerEncoder
    from kvcalc.towers.gated_conformer import GatedConformer
    from kvcalc.towers.mlp import Mlp
    from kvcalc.towers.mobilenet import MobileNet
    from kvcalc.towers.perceiver import Perceiver
    from kvcalc.towers.qformer import QFormer
    from kvcalc.towers.sam import SegmentAnything
    from kvcalc.towers.sequence import Sequence
    from kvcalc.towers.speech import SpeechEncoder
    from kvcalc.towers.usm import UniversalSpeech
    from kvcalc.towers.vit import VisionTransformer

    Tower = (
        VisionTransformer | SegmentAnything | MobileNet | SpeechEncoder | ConformerEncoder | GatedConformer
        | UniversalSpeech | Mlp | Perceiver | QFormer | Sequence
    )  # fmt: skip

# kind -> (module, class): read by the spec loader, which imports a kind only when a spec names it.
KINDS: dict[str, tuple[str, str]] = {
    "vit": ("kvcalc.towers.vit", "VisionTransformer"),
    "sam": ("kvcalc.towers.sam", "SegmentAnything"),
    "mobilenet": ("kvcalc.towers.mobilenet", "MobileNet"),
    "speech": ("kvcalc.towers.speech", "SpeechEncoder"),
    "conformer": ("kvcalc.towers.conformer", "ConformerEncoder"),
    "gated_conformer": ("kvcalc.towers.gated_conformer", "GatedConformer"),
    "usm": ("kvcalc.towers.usm", "UniversalSpeech"),
    "mlp": ("kvcalc.towers.mlp", "Mlp"),
    "perceiver": ("kvcalc.towers.perceiver", "Perceiver"),
    "qformer": ("kvcalc.towers.qformer", "QFormer"),
    "sequence": ("kvcalc.towers.sequence", "Sequence"),
}
