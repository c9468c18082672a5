"""What a server said that its weights took, held against what its own model classes allocate.

vLLM prints the bytes that torch's allocator had handed out when the model was loaded (DeviceMemoryProfiler,
utils/mem_utils.py): parameters and tables, in blocks. A tensor of more than 1 MiB lies in a segment of
whole 2 MiB, and what is left of that stays with it where it is no more than 1 MiB
(c10/cuda/CUDACachingAllocator.cpp, should_split, kSmallSize). So the figure lies between the sum of the
tensors and 1 MiB more for each. Tables are as long as the checkpoint's longest context, which may be
another than the spec's: at the lower end they are left out. Latent attention keeps copies of kv_b_proj that
it multiplies queries and outputs by (MLACommonImpl.process_weights_after_loading).

SGLang prints by how much the free memory of the device fell: segments and libraries take of it, too.
"""

import re
from collections.abc import Iterator
from math import prod

from kvcalc.engines import engine_of
from kvcalc.engines.engine import Device
from kvcalc.engines.loaded import Loaded
from kvcalc.errors import KvcalcError
from kvcalc.frozen import changed, frozen
from kvcalc.logs.answer import Observation
from kvcalc.logs.facts import Figure, Start
from kvcalc.logs.held.common import observed, truth, word
from kvcalc.memory.layout import Layout
from kvcalc.memory.weights import ledger
from kvcalc.spec.model import ModelSpec
from kvcalc.units import MIB, format_as_logged

QUANTITY = "loaded_bytes"
# Words of a checkpoint's name -> what --dtype makes alike of the plain model. Others are not known.
_FORMATS = (
    (r"fp8[-_]?block", None), (r"fp8(?:[-_]dynamic)?", "fp8"), (r"w8a8|int8", "int8"),
    (r"awq|gptq|int4|w4a16|nvfp4|mxfp4|fp4|bnb|[2-8][-_]?bits?|auto[-_]?round|quantized|quant|exl\d"
     r"|w8a16|modelopt|qat|gguf", None),
)  # fmt: skip
# Parts of a tensor that the classes put together may each be smaller than a MiB.
_SMALL = 256 << 10


@frozen
class _Format:
    """dtype: None where the log does not say it. own: whether nothing was guessed."""

    dtype: str | None
    own: bool


def weights(
    start: Start, spec: ModelSpec, layout: Layout, device: Device | None
) -> Iterator[Observation]:
    """The row of the weights; none where the log prints none. layout: of the reading that agrees."""
    figure = start.memory.get("weights")
    if figure is None:
        return
    figure = changed(figure, quantity=QUANTITY, of="")
    format, engine = _format(start, spec), engine_of(start.engine)
    if format.dtype is None:
        yield _unknown(
            figure, "the checkpoint's format is not in the log: --model with its config.json"
        )
        return
    version = None if start.version is None else str(start.version.value)
    assert engine.loads is not None
    try:
        found = engine.loads(spec, format.dtype, layout, version, device)
    except KvcalcError as error:
        yield _unknown(figure, str(error))
        return
    if isinstance(found, str):
        yield _unknown(figure, found)
        return
    yield _held(figure, start, spec, layout, format, found)


def _unknown(figure: Figure, why: str) -> Observation:
    return observed(figure, None, None, None, None, why)


def _held(
    figure: Figure, start: Start, spec: ModelSpec, layout: Layout, format: _Format, found: Loaded
) -> Observation:
    """The stage whose sizes the figure lies in, the fullest where it lies in none."""
    assert format.dtype is not None
    more = _slack(spec, format.dtype, layout)
    copies = _copies(spec, format.dtype, layout)
    stages = _stages(found, layout.tensor)
    ends = [(own, own + tables + copies + more, own + tables) for own, tables in stages]
    meant = max(ends, key=lambda each: each[2])
    for least, most, sized in ends:
        if figure.least <= most and figure.most >= least:
            said = _said(sized - least, copies, found) + _as(format)
            return observed(figure, sized, least, most, True, said)
    least, most, sized = meant
    off = f"{float((figure.value - sized) * 100 / max(1, sized)):+.2f} %"
    above = figure.value > most
    unknown = ["what its tables take is not known"] if above and _tables_unknown(found) else []
    doubt = "; ".join((*unknown, *_doubts(start, spec, format, above)))
    return observed(
        figure, sized, least, most, None if doubt else False, f"{off}: {doubt or _UNSAID}"
    )


_UNSAID = "not explained by what the log says; please report it with the log"


def _tables_unknown(found: Loaded) -> bool:
    return found.buffer_bytes_per_device is None


def _stages(found: Loaded, tensor: int) -> list[tuple[int, int]]:
    """(parameters, buffers) on a device of each stage."""
    buffers = found.buffer_bytes_per_device or (0,) * len(found.bytes_per_device)
    return list(zip(found.bytes_per_device, buffers, strict=True))[::tensor]


def _said(tables: int, copies: int, found: Loaded) -> str:
    parts = ["parameters"]
    if tables:
        parts.append(f"{format_as_logged(tables)} of tables")
    if copies:
        parts.append(f"up to {format_as_logged(copies)} of copies of kv_b_proj")
    reasons = [each.name for each in found.reasons[:2] if each.bytes > 0]
    more = f"; of it {', '.join(reasons)}" if reasons else ""
    return f"{', '.join(parts)}, up to 1 MiB a tensor of the allocator's blocks{more}"


def _as(format: _Format) -> str:
    return "" if format.own else f"; as weights in {format.dtype} take, by the checkpoint's name"


def _doubts(start: Start, spec: ModelSpec, format: _Format, above: bool) -> Iterator[str]:
    """Why a figure may differ from what the log says of it."""
    if above and any(name == "mxfp4" for name in _formats(spec, format)):
        yield "kernels repack MXFP4 experts, and how far that pads them was not read in every release"
    if not format.own:
        yield f"the checkpoint's format is not in the log, {format.dtype} taken by its name"
    for flag, words in (
        ("--enable-lora", "adapters are loaded with it"),
        ("num_speculative_tokens", "what drafts is loaded with it"),
        ("--speculative-algorithm", "what drafts is loaded with it"),
        ("--quantization", "the engine quantises while it loads"),
        ("--cpu-offload-gb", "some weights stay in RAM"),
        ("--language-model-only", "towers are not loaded"),
    ):
        if start.value(flag):
            yield words
    if "--tensor-parallel-size" not in start.flags and "--tp-size" not in start.flags:
        yield "the log does not say over how many ranks"
    if start.engine == "sglang" and above:
        yield "libraries that load meanwhile take of the free memory, too"
    if truth(start, "--enable-expert-parallel"):
        yield "experts are dealt out"


def _format(start: Start, spec: ModelSpec) -> _Format:
    """What the weights are in, as far as the log says it."""
    method = start.value("--quantization")
    names = [start.asked] + ([str(start.model.value)] if start.model is not None else [])
    if spec.own_dtype == "checkpoint":
        return _Format("checkpoint", True)
    for pattern, dtype in _FORMATS:
        for name in names:
            tail = name.lower().rstrip("/").rsplit("/", 1)[-1]
            if re.search(rf"(?:^|[-_.])(?:{pattern})(?:$|[-_.])", tail):
                return _Format(dtype, False)
    if method == "fp8":
        return _Format("fp8", True)
    if method is not None:
        return _Format(None, False)
    asked = word(start, "--dtype")
    return _Format(asked if asked in ("bf16", "fp16", "fp32") else spec.own_dtype, True)


def _formats(spec: ModelSpec, format: _Format) -> set[str]:
    assert format.dtype is not None
    return {row.stored.format.name for row in ledger(spec, format.dtype).rows}


def _rows(spec: ModelSpec, dtype: str) -> Iterator[tuple[str, int, int, int]]:
    """(name, elements, bytes, count) of the weights."""
    for row in ledger(spec, dtype).rows:
        yield row.weight.tensor.name, prod(row.shape), row.bytes_each, row.count


def _slack(spec: ModelSpec, dtype: str, layout: Layout) -> int:
    """What blocks of the allocator may hold beyond their tensors on a device, at most."""
    count = sum(count for _, _, size, count in _rows(spec, dtype) if size // layout.tensor > _SMALL)
    return (count // layout.pipeline + 1) * MIB


def _copies(spec: ModelSpec, dtype: str, layout: Layout) -> int:
    """Of latent attention's kv_b_proj, in 16 bits."""
    whole = sum(
        2 * elements * count
        for name, elements, _, count in _rows(spec, dtype)
        if name == "attention.kv_b_proj.weight"
    )
    return whole // (layout.tensor * layout.pipeline)
