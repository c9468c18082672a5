"""Models that draft tokens for another: what they have around their layers. One file per kind.

Such a model reads hidden states of the model that it drafts for, and takes what it does not store
itself, the token table or the head, from there. A plain small model that drafts is no kind of these.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcalc.stack.drafts.dflash import DFlashDraft
    from kvcalc.stack.drafts.dflash2 import DFlash2Draft
    from kvcalc.stack.drafts.domino import DominoDraft
    from kvcalc.stack.drafts.dspark import DSparkDraft
    from kvcalc.stack.drafts.eagle import EagleDraft
    from kvcalc.stack.drafts.eagle3 import Eagle3Draft
    from kvcalc.stack.drafts.gemma4_assistant import Gemma4AssistantDraft
    from kvcalc.stack.drafts.medusa import MedusaDraft
    from kvcalc.stack.drafts.mlp_speculator import MlpSpeculatorDraft

    Drafter = (
        EagleDraft
        | Eagle3Draft
        | DFlashDraft
        | DFlash2Draft
        | DSparkDraft
        | DominoDraft
        | Gemma4AssistantDraft
        | MedusaDraft
        | MlpSpeculatorDraft
    )

# kind -> (module, class): read by the spec loader, which imports a kind only when a spec names it.
KINDS: dict[str, tuple[str, str]] = {
    "eagle": ("kvcalc.stack.drafts.eagle", "EagleDraft"),
    "eagle3": ("kvcalc.stack.drafts.eagle3", "Eagle3Draft"),
    "dflash": ("kvcalc.stack.drafts.dflash", "DFlashDraft"),
    "dflash2": ("kvcalc.stack.drafts.dflash2", "DFlash2Draft"),
    "dspark": ("kvcalc.stack.drafts.dspark", "DSparkDraft"),
    "domino": ("kvcalc.stack.drafts.domino", "DominoDraft"),
    "gemma4_assistant": ("kvcalc.stack.drafts.gemma4_assistant", "Gemma4AssistantDraft"),
    "medusa": ("kvcalc.stack.drafts.medusa", "MedusaDraft"),
    "mlp_speculator": ("kvcalc.stack.drafts.mlp_speculator", "MlpSpeculatorDraft"),
}
