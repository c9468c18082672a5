"""A whole model on one device: weights and cells, without compute buffers."""

from kvcalc.engines.engine import Device, Placed
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.holding import hold
from kvcalc.errors import UsageError
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec


def placed(spec: ModelSpec, device: Device, workload: Workload, weight_bytes: int) -> Placed:
    """Never more than tight: compute buffers are left out. Raises as ``hold`` does."""
    if workload.layout.devices > 1:
        raise UsageError("llama.cpp has no --tp, --pp or --dp: give one --gpu for each device")
    asked = max(1, workload.context_tokens)
    cache, state = workload.cache, workload.cache.state
    key = None if cache.key == "bf16" else cache.key
    value = None if cache.value == "bf16" else cache.value
    flags = LlamaCppFlags(ctx_size=asked, cache_type_k=key, cache_type_v=value)
    if state is not None:
        flags = LlamaCppFlags.of("llama.cpp", {"state_dtype": state})
    held = hold(spec, flags)
    room = device.bytes - weight_bytes

    def taken(tokens: int) -> int:
        return sum(held.stage_bytes(tokens))

    one = taken(asked)
    left = room - one * workload.batch_size
    if left < 0:
        return Placed(verdict="does not fit", free_bytes=left, longest_context=0, largest_batch=0)
    own = spec.max_position_embeddings
    limit = max(own or asked, asked)
    longest: int | None = limit
    if taken(limit) * workload.batch_size > room:
        least, above = asked, limit
        while above - least > 1:
            middle = (least + above) // 2
            fits = taken(middle) * workload.batch_size <= room
            least, above = (middle, above) if fits else (least, middle)
        longest = least
    return Placed(
        verdict="tight", free_bytes=left, longest_context=longest,
        largest_batch=room // one if one else None,
    )  # fmt: skip
