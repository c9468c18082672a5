"""Which of SGLang's classes loads a model, with which kernels on a GPU, and what that takes.

MXFP4 experts (srt/layers/quantization/mxfp4.py, create_weights, with the backend of
arg_groups/model_overrides/gpt_oss.py): Triton's kernels pad the inner width of a rank to 64; FlashInfer's
on compute capability 10.x the inner width to 128 and the hidden size to 256, and attention keeps its sinks
in float32 there.
"""

from kvcalc.engines.engine import Device
from kvcalc.engines.loaded import Loaded, load
from kvcalc.engines.sglang.classes import (
    ABSENT,
    AS_PUBLISHED,
    CLASSES,
    FP8_BLOCKS,
    REPLICATED,
    TOWERED,
)
from kvcalc.engines.sglang.loaded import SglangClasses
from kvcalc.engines.sglang.versions import NEWEST
from kvcalc.engines.vllm.classes import ModelClass
from kvcalc.engines.vllm.loaded import Padding
from kvcalc.frozen import changed
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import Row
from kvcalc.memory.schemes import PLAIN
from kvcalc.memory.weights import ledger
from kvcalc.spec.catalog import shipped
from kvcalc.spec.model import ModelSpec

_HOPPER = Padding(1, 64, wide_biases=True, swizzled=True)
# What the layouts there make of scales was not read: the biases alone are counted.
_AMPERE = Padding(1, 64, wide_biases=True)
_FLASHINFER = Padding(256, 128, wide_biases=True)


def loaded(
    spec: ModelSpec, dtype: str, layout: Layout, version: str | None, device: Device | None
) -> Loaded | str:
    """What each device of one replica holds, or why that is not known. Raises UnsupportedError where
    SGLang's class refuses the layout."""
    found = _class_of(spec)
    if isinstance(found, str):
        return found
    rows = ledger(spec, dtype).rows
    padding = _kernel(spec, rows, device)
    if isinstance(padding, str):
        return padding
    if padding is _FLASHINFER:
        found = changed(found, kept=("attention.sinks",))
    if layout.data > 1 and spec.model_type not in REPLICATED:
        return (
            f"what replicas of the attention (--dp) load of a {spec.model_type} was not built here; each "
            "server of its own holds what --tp alone says"
        )
    over = layout.tensor * layout.data if layout.expert else 0
    made = SglangClasses(spec, dtype, found, padding, over, layout.data)
    return load(spec, dtype, layout, made)


def _class_of(spec: ModelSpec) -> ModelClass | str:
    kind = spec.model_type
    if kind is None:
        return "the spec names no model_type, and what is loaded is a class's: say model_type"
    found = (TOWERED if spec.towers else CLASSES).get(kind)
    if found is None:
        why = ABSENT.get(kind)
        if why is not None:
            return f"SGLang {NEWEST} has no class for model_type {kind} ({why})"
        return f"SGLang's class for model_type {kind} was not built here, so what it loads is not known"
    if kind in AS_PUBLISHED and spec.name not in shipped():
        return (
            f"SGLang's class for model_type {kind} takes part of the config as its published models have "
            "it, and of those only the shipped ones were built here"
        )
    return found


def _kernel(spec: ModelSpec, rows: tuple[Row, ...], device: Device | None) -> Padding | str | None:
    """What experts are padded to; a sentence where the format was not built."""
    kernel: Padding | None = None
    for row in rows:
        format = row.stored.format
        if format.name == "mxfp4":
            choice = _mxfp4_kernel(device)
            if isinstance(choice, str):
                return choice
            kernel = choice
        elif format.name not in PLAIN and not (
            format.name.startswith("fp8_block") and spec.model_type in FP8_BLOCKS
        ):
            return f"what SGLang allocates for a tensor in {row.dtype} is not known here"
    if spec.model_type == "gpt_oss" and kernel is None:
        return "of gpt-oss SGLang's class was built for MXFP4 experts alone"
    return kernel


def _mxfp4_kernel(device: Device | None) -> Padding | str:
    if device is None:
        return "the GPU's kernel pads MXFP4 experts, so what is loaded needs --gpu"
    sm = device.sm or 0
    if sm // 10 == 9:
        return _HOPPER
    if sm // 10 == 8:
        return _AMPERE
    if sm // 10 == 10:
        return _FLASHINFER
    return f"how SGLang's MXFP4 kernels pad experts on {device.name} is not known here"
