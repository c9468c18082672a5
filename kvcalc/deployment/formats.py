"""Formats of weights and caches that an engine runs on a device, widest first."""

from collections.abc import Iterator

from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.planner import Planner
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.engine import AnyEngine
from kvcalc.errors import KvcalcError
from kvcalc.file_types import recipe
from kvcalc.spec.model import ModelSpec

# The files that people publish, one for each step down; those of fewer bits need an importance matrix.
GGUF_LADDER = ("gguf-bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "iq4_xs", "q3_k_m", "q2_k")
_COSTS = {
    "fp8": "precision of the weights, or a checkpoint that was made in fp8",
    "int4_g128": "much precision of the weights (groups of 128)",
}
# A format is worth naming where it takes less than this of the present one's bytes.
_WORTH = (9, 10)


def formats_of(spec: ModelSpec, record: AnyEngine, device: Accelerator) -> tuple[str, ...]:
    """The formats in which an engine runs a model on a device, the one it is published in first."""
    ladder = record.weights(device)
    if spec.own_dtype != "checkpoint":
        return ladder
    if recipe(ladder[0]) is None:
        return ("checkpoint", *ladder[1:])
    published = "mxfp4" in spec.weight_dtypes.values()
    # llama.cpp's file of a model that is published in MXFP4 keeps it.
    return ("mxfp4_moe", *ladder[1:]) if published else ladder


def narrower_weights(
    planner: Planner, device: Accelerator, request: FitRequest
) -> Iterator[tuple[str, str]]:
    """(format, what it costs) of those that take clearly less than the one asked for."""
    asked, record = request.workload.dtype, request.record
    ladder = GGUF_LADDER if recipe(asked) is not None else record.weights(device)
    least = planner.weight_bytes(asked)
    for name in ladder:
        if name == asked:
            continue
        try:
            num_bytes = planner.weight_bytes(name)
        except KvcalcError:
            continue
        if num_bytes * _WORTH[1] < least * _WORTH[0]:
            yield name, _COSTS.get(name, "precision of the weights")


def narrower_caches(request: FitRequest) -> Iterator[tuple[CacheDtypes, str]]:
    """(formats, what they cost) of the caches that the engine has beside two bytes an element."""
    cache = request.workload.cache
    if cache.key not in ("bf16", "fp16", "fp32"):
        return
    for name in request.record.caches:
        yield CacheDtypes(name, name, cache.state), "precision of the cache"
