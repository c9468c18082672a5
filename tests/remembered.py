"""What the package remembers of equal mechanisms, to be worked out anew where a test plants a formula."""

from kvcalc.memory import inventory, towers
from kvcalc.spec import layers, model


def forget() -> None:
    """Empty every such memory."""
    for module in (inventory, layers, model, towers):
        for each in vars(module).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()
