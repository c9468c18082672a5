"""What users have instead of a spec: Hugging Face configs (and, beside them, other files) -> spec."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvcalc.convert.files import load_model
    from kvcalc.convert.hf import spec_from_config
    from kvcalc.convert.imported import Imported

__all__ = ["Imported", "load_model", "spec_from_config"]

# Imported when first asked for: a shipped spec needs none of it.
_HOMES = {
    "Imported": "kvcalc.convert.imported",
    "load_model": "kvcalc.convert.files",
    "spec_from_config": "kvcalc.convert.hf",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kvcalc.convert' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
