"""Formats of weights and caches that an engine runs on a device, widest first."""

from collections.abc import Iterator

from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.planner import Planner
from kvcalc.dtypes import GGML, CacheDtypes
from kvcalc.engines.engine import AnyEngine
from kvcalc.errors import KvcalcError
from kvcalc.file_types import LADDER, recipe
from kvcalc.memory.weights import summarise
from kvcalc.spec.file_spec import FileSpec
from kvcalc.spec.model import ModelSpec

_COSTS = {
    "fp8": "precision of the weights, or a checkpoint that was made in fp8",
    "int4_g128": "much precision of the weights (groups of 128)",
}
# A format is worth naming where it takes less than this of the present one's bytes.
_WORTH = (9, 10)


def formats_of(planner: Planner, record: AnyEngine, device: Accelerator) -> tuple[str, ...]:
    """The formats in which an engine runs a model on a device, the one it is published in first."""
    ladder, spec = record.weights(device), planner.spec
    if isinstance(spec, FileSpec):
        return (spec.file_type,)
    if spec.own_dtype != "checkpoint" or record.no_weights(spec, "checkpoint") is not None:
        return ladder
    if recipe(ladder[0]) is None:
        least = planner.weight_bytes("checkpoint")
        return ("checkpoint", *(name for name, _ in _below(planner, ladder, least)))
    # llama.cpp's file of a model that is published in MXFP4 keeps it.
    published = "mxfp4" in spec.weight_dtypes.values()
    return ("mxfp4_moe", *ladder[2:]) if published else ladder


def least_bytes(spec: ModelSpec, dtype: str) -> int | None:
    """Fewer bytes than a file of a GGUF type takes, found at once; None for other formats.

    No tensor of the ladder's mixtures is narrower than nine tenths of the type's own block.
    """
    found = recipe(dtype)
    if found is None:
        return None
    block = GGML[found.file_type.default]
    return summarise(spec).language_model * block.block_bytes * 9 // (block.block_elements * 10)


def narrower_weights(
    planner: Planner, device: Accelerator, request: FitRequest
) -> Iterator[tuple[str, str]]:
    """(format, what it costs) of those that take clearly less than the one asked for."""
    asked, record = request.workload.dtype, request.record
    ladder = LADDER if recipe(asked) is not None else record.weights(device)
    for name, _ in _below(planner, ladder, planner.weight_bytes(asked)):
        yield name, _COSTS.get(name, "precision of the weights")


def _below(planner: Planner, ladder: tuple[str, ...], least: int) -> Iterator[tuple[str, int]]:
    """(format, bytes) of those that take clearly less."""
    for name in ladder:
        try:
            num_bytes = planner.weight_bytes(name)
        except KvcalcError:
            continue
        if num_bytes * _WORTH[1] < least * _WORTH[0]:
            yield name, num_bytes


def narrower_caches(request: FitRequest) -> Iterator[tuple[CacheDtypes, str]]:
    """(formats, what they cost) of the caches that the engine has beside two bytes an element."""
    cache = request.workload.cache
    if cache.key not in ("bf16", "fp16", "fp32"):
        return
    for name in request.record.caches:
        yield CacheDtypes(name, name, cache.state), "precision of the cache"
