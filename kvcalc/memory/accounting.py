"""Whose cache an estimate counts: the closed form's, or what a library's cache object holds.

An estimate sums cache groups; an ``Accounting`` says which. The logical one takes the groups of the
inventory as they are; an engine's (kvcalc/engines) derives its own from them.
"""

from kvcalc.frozen import frozen
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec


@frozen(kw_only=True)
class Accounting:
    """The tensors that one party keeps for a model, and how to read them.

    engine: the word of ``--engine``. groups: what each layer keeps. assumptions: which rules were
    followed. at_most: the answer is the most held at any length up to the context; otherwise what
    is held at exactly that length, as a library's cache object would show it.
    prefill: the library reads a prompt in steps, and its buffers say what they hold between them.
    after_prefill: where views pin more memory than they show, the tensors that one prefill of the
    whole context leaves allocated until the next token.
    """

    engine: str
    groups: tuple[CacheGroup, ...]
    assumptions: tuple[str, ...] = ()
    at_most: bool = True
    after_prefill: tuple[CacheGroup, ...] | None = None
    prefill: bool = False


def logical(spec: ModelSpec) -> Accounting:
    """What the mechanisms need: the groups of the inventory, unchanged."""
    return Accounting(engine="logical", groups=groups_of(spec))
