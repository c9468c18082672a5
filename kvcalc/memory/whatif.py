"""What another attention changes: the answer for a variant, set against the real model's."""

from kvcalc.frozen import changed
from kvcalc.memory.cache import cache_function
from kvcalc.memory.estimate import Estimate
from kvcalc.spec.model import ModelSpec


def kv_heads(spec: ModelSpec) -> str:
    """``8 KV heads`` where all of a model's softmax layers agree, its attention kinds otherwise."""
    attentions = [block.attention for block in spec.blocks.values() if block.attention is not None]
    counts = {getattr(attention, "num_key_value_heads", None) for attention in attentions}
    if (
        len(counts) == 1
        and None not in counts
        and {a.kind for a in attentions} <= {"mha", "mqa", "gqa"}
    ):
        count = counts.pop()
        return f"{count} KV head{'s' if count != 1 else ''}"
    return " and ".join(sorted({attention.kind for attention in attentions}))


def against_real(variant: Estimate, real: Estimate) -> Estimate:
    """The variant's estimate beside the real model's, whose cache is stated first among assumptions."""
    note = (
        f"what if: the real {real.spec.name}, with {kv_heads(real.spec)}, "
        f"takes {real.cache.bytes:,} bytes of cache"
    )
    return changed(variant, assumptions=(note, *variant.assumptions), real=real)


def as_mha(estimate: Estimate) -> int | None:
    """Bytes of the cache if every query head had a KV head; None when that changes nothing."""
    from kvcalc.errors import UnsupportedError
    from kvcalc.spec.variants import with_attention

    if estimate.spec.recursion is not None:
        return None
    try:
        variant, _ = with_attention(estimate.spec, "mha")
        function = cache_function(variant, estimate.workload.cache)
    except UnsupportedError:
        return None
    workload = estimate.workload
    most = function.most(workload.context_tokens, workload.encoder_tokens)
    num_bytes = workload.num_sequences * most
    return num_bytes if num_bytes > estimate.cache.bytes else None
