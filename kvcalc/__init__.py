"""kvcalc: exact KV-cache, attention and parameter memory of transformer models.

>>> import kvcalc
>>> kvcalc.estimate(kvcalc.load("llama-3-8b"), context_tokens=8192).cache.bytes
1073741824

``load`` finds a spec by shipped name, hub id or path; ``estimate`` answers for one workload;
``cache_function`` compiles a model's cache to a function of tokens, for many workloads.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "CacheDtypes", "Estimate", "KvcalcError", "ModelSpec", "SpecError", "UnsupportedError",
    "__version__", "cache_function", "estimate", "load", "load_spec_text",
]  # fmt: skip

if TYPE_CHECKING:
    from kvcalc.convert.locate import load
    from kvcalc.dtypes import CacheDtypes
    from kvcalc.errors import KvcalcError, SpecError, UnsupportedError
    from kvcalc.memory.cache import cache_function
    from kvcalc.memory.estimate import Estimate, estimate
    from kvcalc.spec.loader import load_spec_text
    from kvcalc.spec.model import ModelSpec

# Imported when first asked for, so that `import kvcalc` and the command line start fast.
_HOMES = {
    "CacheDtypes": "kvcalc.dtypes",
    "KvcalcError": "kvcalc.errors",
    "SpecError": "kvcalc.errors",
    "UnsupportedError": "kvcalc.errors",
    "cache_function": "kvcalc.memory.cache",
    "Estimate": "kvcalc.memory.estimate",
    "estimate": "kvcalc.memory.estimate",
    "load": "kvcalc.convert.locate",
    "load_spec_text": "kvcalc.spec.loader",
    "ModelSpec": "kvcalc.spec.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kvcalc' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
