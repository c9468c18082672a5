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
    NOT_BUILT,
    QUANTISED,
    REPLICATED,
    TOWERED,
)
from kvcalc.engines.sglang.loaded import TILED, SglangClasses
from kvcalc.engines.sglang.versions import NEWEST
from kvcalc.engines.vllm.classes import ModelClass
from kvcalc.engines.vllm.loaded import Padding
from kvcalc.engines.vllm.quantised import kept_together
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed, remembered
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import Row
from kvcalc.memory.schemes import PLAIN
from kvcalc.memory.weights import ledger
from kvcalc.spec import hub_ids
from kvcalc.spec.catalog import shipped
from kvcalc.spec.model import ModelSpec

_HOPPER = Padding(1, 64, wide_biases=True, swizzled=True)
# What the layouts there make of scales was not read: the biases alone are counted.
_AMPERE = Padding(1, 64, wide_biases=True)
_TRTLLM = Padding(1, 64)
# Formats that were built, by what their words begin with, and the methods that make them.
_KNOWN = ("fp8", "int8", "int4", "gptq", "awq", "nvfp4")
_METHODS = ("fp8", "gptq", "awq", "modelopt", "compressed-tensors", "mxfp4")
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
    if dtype == "checkpoint" and (why := _method(spec, device)):
        return why
    if why := kept_together(rows, "SGLang"):
        return why
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
    made, key = _made(spec), (dtype, padding, over, layout.data)
    if key not in made:
        made[key] = SglangClasses(spec, dtype, found, padding, over, layout.data)
    return load(spec, dtype, layout, made[key])


@remembered
def _made(spec: ModelSpec) -> dict[tuple[str, Padding | None, int, int], SglangClasses]:
    """What was asked for so far: many GPUs run the same kernels, many layouts have the same ranks."""
    return {}


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
    if kind in AS_PUBLISHED and not _published(spec):
        return (
            f"SGLang's class for model_type {kind} takes part of the config as its published models have "
            "it, and of those only the shipped ones were built here"
        )
    return found


def _published(spec: ModelSpec) -> bool:
    """Whether it is a shipped model, or an id that has the shape of one."""
    if spec.name in shipped():
        return True
    found = [hub_ids.find(each) for each in spec.hub_id if "/" in each]
    return any(each is not None and each.spec in shipped() for each in found)


def _kernel(spec: ModelSpec, rows: tuple[Row, ...], device: Device | None) -> Padding | str | None:
    """What experts are padded to; a sentence where the format was not built."""
    kernel: Padding | None = None
    for row in rows:
        name = row.stored.format.name
        if name in PLAIN:
            continue
        if name.startswith(("gptq2", "gptq3")):
            raise UnsupportedError(
                f"SGLang {NEWEST} runs GPTQ in 4 and 8 bits alone, not {row.dtype}"
            )
        known = name.startswith((*_KNOWN, "mxfp4")) and "_idx" not in name
        if row.stored.num_bytes is not None or not known:
            return f"what SGLang allocates for a tensor in {row.dtype} is not known here"
        choice: Padding | str | None = None
        if name == "mxfp4":
            choice = _mxfp4_kernel(device)
        elif spec.model_type not in QUANTISED or name.startswith(
            NOT_BUILT.get(spec.model_type, ())
        ):
            choice = (
                f"SGLang's class for model_type {spec.model_type} was not built with tensors in "
                f"{row.dtype} here, so what it loads is not known"
            )
        elif name.startswith("nvfp4") and row.component == "experts":
            choice = _nvfp4_kernel(spec, device)
        if isinstance(choice, str):
            return choice
        kernel = choice or kernel
    if spec.model_type == "gpt_oss" and kernel is None:
        return "of gpt-oss SGLang's class was built for MXFP4 experts alone"
    return kernel


def _method(spec: ModelSpec, device: Device | None) -> str:
    """Why SGLang does not take the checkpoint's method, or it is not known; "" where it does."""
    by = spec.quantized_by
    method = by.get("quant_method")
    if by.get("quant_algo") == "MIXED_PRECISION":
        method = "several formats (MIXED_PRECISION)"
    if method is not None and method not in _METHODS:
        return f"what SGLang allocates for a checkpoint of {method} was not built here"
    if "sym" in by:
        raise UnsupportedError(
            f"SGLang {NEWEST} runs GPTQ on NVIDIA GPUs with Marlin's kernel alone, and a checkpoint that "
            "is not symmetric has none (quantization/__init__.py)"
        )
    blackwell = device is not None and (device.sm or 0) // 10 == 10
    if spec.model_type == "qwen3_moe" and blackwell and method in ("gptq", "awq"):
        raise UnsupportedError(
            f"SGLang {NEWEST} refuses {method} checkpoints of {spec.model_type} on Blackwell, where it "
            "takes the method by that name and not Marlin's (arg_groups/model_overrides/qwen3_moe.py)"
        )
    if device is not None and device.vendor == "AMD" and method is not None:
        return f"what SGLang allocates for a checkpoint of {method} on {device.name} was not built here"
    return ""


def _nvfp4_kernel(spec: ModelSpec, device: Device | None) -> Padding | str | None:
    """ModelOpt's experts: in tiles beside where they stand, or padded for TRT-LLM's kernel."""
    if spec.quantized_by.get("quant_method") == "compressed-tensors":
        return None
    if device is None:
        return "the GPU's kernel decides how NVFP4 experts stand, so what is loaded needs --gpu"
    sm = (device.sm or 0) // 10
    if sm in (8, 9):
        return TILED
    if sm == 10:
        return _TRTLLM
    return f"how SGLang's NVFP4 kernels want experts on {device.name} is not known here"


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
