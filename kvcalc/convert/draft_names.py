"""Which configs are of a model that drafts for another: told before what reads them is imported."""

import re
from collections.abc import Mapping
from typing import Any

_ANY = re.compile(
    r"Eagle|EAGLE|Medusa|DFlash|DSpark|Domino|Draft|Speculator|NextN|MTP|PEagle|Peagle"
)
_TYPES = (
    "eagle", "medusa", "mlp_speculator", "gemma4_assistant", "gemma4_unified_assistant",
)  # fmt: skip


def is_draft(values: Mapping[str, Any]) -> bool:
    """Whether a config is that of a model that drafts for another."""
    if values.get("speculators_model_type") is not None:
        return True
    if values.get("model_type") in _TYPES:
        return True
    name = first_class(values.get("architectures"))
    return name is not None and _ANY.search(name) is not None


def first_class(names: Any) -> str | None:
    """The first of a config's ``architectures``."""
    name = names[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) else None
