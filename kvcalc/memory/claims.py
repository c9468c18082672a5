"""Popular formulas for KV caches, and what each gets wrong for a given model.

Each claim is computed as people compute it and set against the exact cache; only those that are
wrong for the model at hand are returned. They are the ones that public calculators use.
"""

from collections.abc import Iterator
from math import prod

from kvcalc.memory.cache import cache_function
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.memory.workload import Workload
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import EveryToken, Once, Window


def wrong_claims(spec: ModelSpec, workload: Workload) -> tuple[str, ...]:
    """One sentence per claim that fails here, with both numbers."""
    return tuple(_claims(spec, workload))


def _claims(spec: ModelSpec, workload: Workload) -> Iterator[str]:
    tokens = workload.context_tokens
    exact = cache_function(spec, workload.cache).most(tokens, workload.encoder_tokens)
    layers = len(decoder_layers(spec))
    attentions = [block.attention for block in spec.blocks.values() if block.attention is not None]
    groups = groups_of(spec)
    if not exact:
        if any(block.is_bidirectional for block in spec.blocks.values()):
            yield "an encoder has a KV cache: it has none, it sees its whole input at once"
        return
    naive = 4 * layers * spec.hidden_size * tokens
    if naive != exact and workload.cache.kv_name == "bf16":
        yield (
            f"2 * layers * hidden_size * 2 bytes a token: {naive:,}, which is "
            f"{_times(naive, exact)}{_reasons(spec, groups, layers)}"
        )
    for attention in attentions:
        heads = getattr(attention, "num_attention_heads", 0)
        head_dim = getattr(attention, "head_dim", 0)
        if head_dim * heads not in (0, spec.hidden_size):
            yield (
                f"head_dim = hidden_size / num_attention_heads: here {spec.hidden_size} / {heads}, "
                f"and head_dim is {head_dim}"
            )
            break
    if any(attention.kind == "mla" for attention in attentions):
        yield from dict.fromkeys(n for a in attentions for n in a.explain().notes if "wrong" in n)
        yield "MLA's cache shrinks with tensor parallelism: the latent is replicated on every rank"
    windows = [g for g in groups for t in g.tensors[:1] if isinstance(t.extent, Window)]
    windowed = sum(len(group.layers) for group in windows)
    if windowed and windowed < layers:
        yield f"the window holds for all layers: {windowed} of {layers} have one"
    if any(all(isinstance(tensor.extent, Once) for tensor in g.tensors) for g in groups):
        yield "every layer's cache grows with the context: recurrent layers keep a fixed state"
    owning = {index for group in groups if group.stack == "decoder" for index in group.layers}
    sharing = sum(1 for block in spec.blocks.values() if block.shared_kv is not None)
    if sharing:
        yield f"cache = per layer * num_hidden_layers: only {len(owning)} of {layers} layers keep one"
    if spec.encoder is not None and any(group.slot == "cross_attention" for group in groups):
        yield "only self-attention is cached: the cross-attention's K and V stay for the whole decode"
    if spec.recursion is not None:
        yield (
            "a recursion divides the cache by N_r: that holds only for kv_cache: shared, and not for"
            " the first and last layer of middle_cycle"
        )


def _reasons(spec: ModelSpec, groups: tuple[CacheGroup, ...], layers: int) -> str:
    """What that formula does not know of this model, in brackets."""
    attention = [each for each in groups if each.stack == "decoder" and each.slot == "attention"]
    found = []
    if any(_elements(group) != 2 * spec.hidden_size for group in attention):
        narrow = {group.mechanism for group in attention} != {"mha"}
        found.append(
            "it bills every layer as multi-head attention"
            if narrow
            else "it takes the heads together to be as wide as hidden_size"
        )
    if any(not isinstance(t.extent, EveryToken) for group in attention for t in group.tensors):
        found.append("it bills every token where a layer keeps fewer")
    if sum(len(group.layers) for group in attention) < layers:
        found.append("it bills layers that keep no K and V of their own")
    if any(group.slot == "cross_attention" for group in groups):
        found.append("it leaves out the cross-attention")
    if any(group.slot in ("recurrent", "ffn") for group in groups):
        found.append("it leaves out the fixed states")
    return f" ({'; '.join(found)})" if found else ""


def _elements(group: CacheGroup) -> int:
    return sum(prod(tensor.shape) for tensor in group.tensors)


def _times(part: int, whole: int) -> str:
    if part >= whole:
        tenths = (part * 10 + whole // 2) // whole
        return f"{tenths // 10}.{tenths % 10} times what it is"
    tenths = (part * 1000 + whole // 2) // whole
    return f"{tenths // 10}.{tenths % 10} % of what it is"
