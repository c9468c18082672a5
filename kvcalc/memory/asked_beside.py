"""What is asked for beside a model: ``kvcalc/memory/beside.py`` counts it.

Apart, because every question has a place for it and few have anything in it.
"""

from typing import TYPE_CHECKING

from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.memory.adapters import Adapters


@frozen
class Draft:
    """A model that drafts for another. Two are the same where they are one object."""

    spec: ModelSpec

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@frozen(kw_only=True)
class Beside:
    """What was asked for beside the model.

    mtp_layers: modules of multi-token prediction that draft. draft: the model that drafts.
    speculative_tokens: draft tokens of a step; None leaves them to the engine. adapters: of LoRA.
    """

    mtp_layers: int | None = None
    draft: Draft | None = None
    speculative_tokens: int | None = None
    adapters: "Adapters | None" = None


NOTHING = Beside()
