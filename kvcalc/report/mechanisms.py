"""``kvcalc explain --all``: the reference of every mechanism, taken from the mechanisms' own files."""

import inspect
from importlib import import_module

_PACKAGES = (
    ("Attention", "kvcalc.attention"),
    ("Recurrent and convolutional mixers", "kvcalc.recurrent"),
    ("Feed-forward layers", "kvcalc.ffn"),
)


def render() -> str:
    """Each mechanism's equation, sources, what is stored, and the fields of its spec."""
    parts = []
    for title, package in _PACKAGES:
        parts.append(f"{title}\n{'=' * len(title)}\n")
        registry = dict(import_module(package).KINDS)
        registry.update(getattr(import_module(package), "CROSS_KINDS", {}))
        by_file: dict[tuple[str, str], list[str]] = {}
        for kind, home in registry.items():
            by_file.setdefault(home, []).append(kind)
        for (module, name), kinds in by_file.items():
            loaded = import_module(module)
            doc = inspect.cleandoc(loaded.__doc__ or "")
            fields = inspect.cleandoc(getattr(loaded, name).__doc__ or "")
            heading = f"kind: {', '.join(kinds)}"
            parts.append(f"{heading}\n{'-' * len(heading)}\n{doc}\n\n{fields}\n")
    return "\n".join(parts)
