"""What onnxruntime-genai allocates for a generation, release 0.18.0, seen on its CPU runtime.

* keys and values of every attention layer are buffers of [sequences, KV heads, max_length, width], all
  of it
  before the first token, past and present in one (search option past_present_share_buffer, on by default);
  max_length is the model's context where nobody says it; sequences are 32 at most;
* they are in the format of the export's inputs and outputs: fp32 where it is made for a CPU (also with int4
  or int8 weights), else fp16, or bf16 (models/quantization/quant_config.py, default_io_dtype);
* a layer with a window has min(max_length, window + 16): 16 is the CPU's slack, as windows of 4 to 3,000
  showed. Other execution providers have their own, which was not seen: refused;
* beams greater than one have buffers that grow, two generations of them alive: refused.

Worked number: llama-3-8b on a CPU, max_length 8,192: 32 layers * 2 * 8 * 128 * 8192 * 4 = 2,147,483,648
bytes.
"""

from collections.abc import Iterator
from math import prod

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import pages
from kvcalc.engines.holding import Holding, part_of
from kvcalc.engines.onnxruntime_genai.flags import OnnxruntimeGenaiFlags
from kvcalc.engines.onnxruntime_genai.models import RELEASE, check_model
from kvcalc.engines.pages import Kept
from kvcalc.engines.result import Cache, CapacityResult, Pool
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import EveryToken, Window
from kvcalc.units import MAX_TOKENS

_FORMATS = {"auto": 2, "fp32": 4, "float32": 4, "fp16": 2, "float16": 2, "bf16": 2, "bfloat16": 2}
# Rows beyond a window on a CPU, and sequences of a batch.
SLACK, MOST_SEQUENCES = 16, 32
_RULES = ("buffers of max_length for every sequence, at once (past_present_share_buffer)",)
_NOTES = ("one sequence a beam: beams greater than one are not accounted for",)


def element_bytes(request: OnnxruntimeGenaiFlags) -> int:
    """Of the export's inputs and outputs, 16 bits where they are not said. Raises UsageError."""
    name = request.kv_dtype or "auto"
    if name not in _FORMATS:
        raise UsageError(
            f"--kv-dtype {name}: onnxruntime-genai's buffers are in the format of the export: fp32 for a "
            "CPU (int4 and int8 weights, too), else fp16, or bf16"
        )
    return _FORMATS[name]


def kept_of(spec: ModelSpec, request: OnnxruntimeGenaiFlags) -> tuple[Kept, ...]:
    """Buffers of each layer. Raises UnsupportedError by name."""
    check_model(spec, request.engine_version)
    if request.layout.devices > 1:
        raise UnsupportedError("onnxruntime-genai runs a model on one device")
    element = element_bytes(request)
    return tuple(_kept(spec, group, element) for group in groups_of(spec))


def _kept(spec: ModelSpec, group: CacheGroup, element: int) -> Kept:
    if group.mechanism not in ("mha", "mqa", "gqa") or any(
        not isinstance(tensor.extent, EveryToken | Window) for tensor in group.tensors
    ):
        raise UnsupportedError(
            f"{spec.name}: onnxruntime-genai's buffers of {group.mechanism} are not accounted for"
        )
    sizes = [(tensor, prod(tensor.shape) * element) for tensor in group.tensors]
    window = next((getattr(tensor.extent, "size", None) for tensor in group.tensors), None)
    if window is not None and element != 4:
        raise UnsupportedError(
            f"{spec.name}: what a window's buffers have beyond it follows the execution provider, of which "
            "the CPU's was run: --kv-dtype fp32"
        )
    return Kept(
        block=group.block, mechanism=group.mechanism, layers=group.layers, window=window,
        slack=0 if window is None else SLACK,
        rows=tuple((tensor.name, part_of(tensor.role), size, size) for tensor, size in sizes),
    )  # fmt: skip


def hold(spec: ModelSpec, request: OnnxruntimeGenaiFlags) -> Holding:
    """Buffers of one sequence of max_length. Raises as ``kept_of`` does."""
    return pages.hold(
        (kept_of(spec, request),), request.max_model_len or 1, 1,
        version=RELEASE,
        formats={"kv": "keys and values in the export's format", "index": "", "state": ""},
        rules=_RULES,
        notes=("the context is max_length: all of it is allocated at once, used or not",
               *_format_note(request), *_NOTES),
    )  # fmt: skip


def capacity(spec: ModelSpec, request: OnnxruntimeGenaiFlags) -> CapacityResult:
    """The buffers of a batch, and the longest that a memory holds.

    Raises UsageError where the model's longest is not known and none is asked for.
    """
    kept = kept_of(spec, request)
    longest = request.max_model_len or spec.max_position_embeddings
    if not longest:
        raise UsageError(f"{spec.name} states no longest context: say --max-model-len (max_length)")
    batch = request.max_num_seqs or 1
    check_batch(batch)
    memory = request.available
    return CapacityResult(
        engine="onnxruntime-genai",
        version=RELEASE,
        model=spec.name,
        pool=Pool(
            available_bytes=memory.bytes if memory else None,
            tokens=longest,
            bytes_per_request=_taken(kept, longest),
            estimated_max_model_len=_longest(kept, memory.bytes // batch) if memory else None,
            bytes=batch * _taken(kept, longest),
        ),
        max_model_len=longest,
        logical_bytes_per_request=cache_function(spec, CacheDtypes()).most(longest),
        caches=tuple(_caches(kept, longest, batch)),
        rules=_RULES,
        notes=(
            *(() if request.max_model_len else
              (f"max_length is not said: onnxruntime-genai allocates all {longest:,} of the context",)),
            *_format_note(request),
            *_NOTES,
        ),
    )  # fmt: skip


def _format_note(request: OnnxruntimeGenaiFlags) -> tuple[str, ...]:
    if request.kv_dtype not in (None, "auto"):
        return ()
    return (
        "an export in 16 bits, as for GPUs; the buffers of one for a CPU are fp32: --kv-dtype fp32",
    )


def check_batch(sequences: int) -> None:
    """Raises UsageError beyond what a batch may be ("batch_size must be in [1, 32]")."""
    if sequences > MOST_SEQUENCES:
        raise UsageError(f"onnxruntime-genai runs at most {MOST_SEQUENCES} sequences at once")


def _taken(kept: tuple[Kept, ...], longest: int) -> int:
    return sum(one.taken(longest, 1) * one.row_bytes * len(one.layers) for one in kept)


def _longest(kept: tuple[Kept, ...], memory: int) -> int:
    """The largest max_length of one sequence in a memory."""
    low, high = 0, MAX_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _taken(kept, middle) <= memory else (low, middle - 1)
    return low


def _caches(kept: tuple[Kept, ...], longest: int, batch: int) -> Iterator[Cache]:
    for one in kept:
        rows = one.taken(longest, 1)
        yield Cache(
            name=f"buffers of {one.block}", type="attention", layers=len(one.layers), window=one.window,
            cells=rows, streams=batch, bytes=batch * rows * one.row_bytes * len(one.layers),
        )  # fmt: skip
