"""A whole model on one device, by llama.cpp's own table: every layer, every cache, nothing in RAM."""

from collections.abc import Callable

from kvcalc.engines.engine import Device, Placed
from kvcalc.engines.llama_cpp.alongside import Alongside
from kvcalc.engines.llama_cpp.flags import MAX_SLOTS, LlamaCppFlags, check_slots
from kvcalc.engines.llama_cpp.local import LocalQuestion, command
from kvcalc.engines.llama_cpp.memory import Loaded, Machine
from kvcalc.engines.llama_cpp.placing import Placing
from kvcalc.engines.llama_cpp.setup import CELLS
from kvcalc.engines.llama_cpp.solve import as_asked
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.gguf.projector import projector_bytes
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.units import MAX_TOKENS


def placed(spec: ModelSpec, device: Device, workload: Workload, weight_bytes: int) -> Placed:
    """What ``fit`` says of it with every layer on the device, and the projector where there is something
    to see. Raises for what llama.cpp refuses."""
    if workload.layout.devices > 1:
        raise UsageError("llama.cpp has no --tp, --pp or --dp: give one --gpu for each device")
    machine = Machine(devices=(device,))
    asked, slots = max(1, workload.context_tokens), workload.batch_size
    check_slots(slots, "--batch")
    whole, flags = Placing(), _flags(workload, asked, slots)
    size = projector_bytes(spec)
    beside = Alongside(projector_bytes=size if workload.media else 0)
    loaded = Loaded(spec, workload.dtype, flags, beside)
    found = as_asked(loaded, machine, whole)
    free = found.table.uses[0].free() or 0
    file_bytes = weight_bytes - (size - beside.projector_bytes)
    if found.verdict == "does not fit":
        return Placed(verdict="does not fit", free_bytes=free, longest_context=0, largest_batch=0,
                      file_bytes=file_bytes)  # fmt: skip

    def spare(tokens: int, sequences: int) -> int:
        """Bytes that are left where the verdict is the same; below zero where it is not."""
        try:
            other = Loaded(spec, workload.dtype, _flags(workload, tokens, sequences), beside)
            again = as_asked(other, machine, whole)
        except KvcalcError:
            return -1
        left = again.table.uses[0].free(found.verdict == "fits") or 0
        return left if again.verdict == found.verdict else min(left, -1)

    limit = max(spec.max_position_embeddings or MAX_TOKENS, asked)
    longest: int | None = limit
    if spare(limit, slots) < 0:
        cells = _most(
            lambda number: spare(number * CELLS, slots), asked // CELLS, -(-limit // CELLS)
        )
        longest = max(cells * CELLS, asked)
    elif limit == MAX_TOKENS:
        longest = None
    question = LocalQuestion(dtype=workload.dtype, flags=flags, machine=machine)
    return Placed(
        verdict="fits" if found.verdict == "fits" else "tight", free_bytes=free,
        longest_context=longest,
        largest_batch=_most_slots(lambda number: spare(asked, number), slots),
        command=command(loaded, question, whole), file_bytes=file_bytes,
    )  # fmt: skip


def _flags(workload: Workload, tokens: int, sequences: int) -> LlamaCppFlags:
    cache = workload.cache
    if cache.state is not None:
        LlamaCppFlags.of("llama.cpp", {"state_dtype": cache.state})
    key = None if cache.key == "bf16" else cache.key
    value = None if cache.value == "bf16" else cache.value
    return LlamaCppFlags(
        ctx_size=tokens * sequences, parallel=sequences, cache_type_k=key, cache_type_v=value
    )


def _most_slots(spare: Callable[[int], int], least: int) -> int:
    """The most slots, from a number that fits."""
    above = least * 2
    while above < MAX_SLOTS and spare(above) >= 0:
        least, above = above, above * 2
    return _most(spare, least, max(least, min(above, MAX_SLOTS)))


def _most(spare: Callable[[int], int], least: int, most: int) -> int:
    """The largest number, from one that fits up to a limit, that leaves something.

    What is left falls almost in a straight line: the next number to ask about lies on it, or next to
    it; every other time it halves what is left to search.
    """
    if least >= most:
        return least
    above, low, high, turn = most, spare(least), spare(most), 0
    if high >= 0:
        return most
    while above - least > 1:
        turn += 1
        middle = (least + above) // 2
        if turn % 3:
            middle = least + max(low, 0) * (above - least) // (max(low, 0) - high)
            middle = min(max(middle, least + 1), above - 1)
        left = spare(middle)
        if left >= 0:
            least, low = middle, left
        else:
            above, high = middle, left
    return least
