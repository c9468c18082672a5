"""Which of vLLM's classes loads a model, with which kernels on a GPU, and what that takes.

MXFP4 experts (layers/fused_moe/oracle/mxfp4.py, _get_priority_backends_for_gpt_oss and
mxfp4_round_up_hidden_size_and_intermediate_size), with the kernels that vLLM's requirements install:
Triton's on Hopper pads the inner width of a rank to 64; FlashInfer's TRT-LLM on compute capability 10.x
and Marlin on 8.x and 12.x the hidden size to 256 and the inner width to 128; Triton's and AITER's on AMD's
MI300 family both to 256, with biases in float32.

Experts in the model's own format are padded by FlashInfer's TRT-LLM kernel alone, which compute
capability 10.x takes where it has the model's routing (oracle/unquantized.py).
"""

from collections.abc import Iterator

from kvcalc.engines.engine import Device
from kvcalc.engines.loaded import Loaded, load
from kvcalc.engines.vllm.classes import CLASSES, TOWERED, WHOLE_TOWERS, ModelClass, check_class
from kvcalc.engines.vllm.loaded import Padding, VllmClasses
from kvcalc.engines.vllm.quantised import kept_together
from kvcalc.engines.vllm.versions import NEWEST
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed, remembered
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import Row
from kvcalc.memory.schemes import PLAIN
from kvcalc.memory.weights import ledger
from kvcalc.spec.model import ModelSpec

_TRITON = Padding(1, 64, wide_biases=True, swizzled=True)
_ROCM = Padding(256, 256, wide_biases=True)
_TRTLLM, _MARLIN = Padding(256, 128, wide_biases=True), Padding(256, 128)
# Formats whose tensors were built with vLLM's classes, by what their names begin with; those that
# --dtype gives a checkpoint of any size are taken as they stand.
_KNOWN = ("fp32", "bf16", "fp16", "fp8", "int8", "int4", "gptq", "awq", "mxfp4", "mxfp8", "nvfp4")
# Methods that were built in these formats alone.
_BUILT = {"auto-round": ("gptq_", "gptq8_"), "quark": ("fp8+",)}
# Whose classes leave DeepGEMM on Blackwell (utils/deep_gemm.py, _DEEPGEMM_BLACKWELL_EXCLUDED_MODEL_TYPES),
# and one whose FP8 layers go other ways.
_NO_DEEP_GEMM = ("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "deepseek_v4")
_METHODS = (
    "fp8", "gptq", "awq", "modelopt", "compressed-tensors", "mxfp4", "auto-round", "quark",
)  # fmt: skip


def loaded(
    spec: ModelSpec, dtype: str, layout: Layout, version: str | None, device: Device | None
) -> Loaded | str:
    """What each device of one replica holds, or why that is not known.

    device: one of the GPUs; None where none was named. Raises UnsupportedError where vLLM has no
    class for the model, and where its class refuses the layout.
    """
    found = _class_of(spec, version)
    if isinstance(found, str):
        return found
    rows = ledger(spec, dtype).rows
    if dtype == "checkpoint" and (why := _method(spec, rows, version)):
        return why
    if why := kept_together(rows, "vLLM"):
        return why
    for row in rows:
        name = row.stored.format.name
        if not name.startswith(_KNOWN) or row.stored.num_bytes is not None:
            return f"what vLLM allocates for a tensor in {row.dtype} is not known here"
    ranks = layout.tensor
    over = ranks * layout.data if layout.expert else 0
    kernel: Padding | None = None
    if any(row.component == "experts" for row in rows) and not over:
        wide = _bf16_kernel(spec, rows, ranks * layout.data, device)
        if wide:
            return wide
    if any(row.stored.format.name == "mxfp4" for row in rows):
        choice = _mxfp4_kernel(spec, device)
        if isinstance(choice, str):
            said = "; ".join(_both(spec, dtype, layout, found, over))
            return f"{choice}: {said}"
        kernel = choice
    if layout.towers_whole and spec.model_type in WHOLE_TOWERS:
        found = changed(found, towers=WHOLE_TOWERS[spec.model_type])
    deep = (
        device is not None and (device.sm or 0) // 10 == 10 and spec.model_type not in _NO_DEEP_GEMM
    )
    made, key = _made(spec), (dtype, kernel, over, layout.data, layout.towers_whole, deep)
    if key not in made:
        made[key] = VllmClasses(spec, dtype, found, kernel, over, layout.data, deep)
    return load(spec, dtype, layout, made[key])


def _method(spec: ModelSpec, rows: tuple[Row, ...], version: str | None) -> str:
    """Why the method that quantised the checkpoint was not built; "" where it was, or is not known.
    Raises UnsupportedError where vLLM refuses it."""
    by = spec.quantized_by
    method = by.get("quant_method")
    if by.get("quant_algo") == "MIXED_PRECISION":
        method = "several formats (MIXED_PRECISION)"
    if method is not None and method not in _METHODS:
        return f"what vLLM allocates for a checkpoint of {method} was not built here"
    names = {row.stored.format.name for row in rows}
    for name in names.difference(PLAIN) if method in _BUILT else ():
        if not name.startswith(_BUILT[method or ""]):
            return f"what vLLM allocates for {name} of {method} was not built here"
    odd = {name for name in names if name.startswith(("gptq2", "gptq3"))}
    for refused, what in (
        ("desc_act" in by, "GPTQ checkpoints that sort by activation (desc_act: true)"),
        ("sym" in by, "GPTQ checkpoints that are not symmetric"),
        (bool(odd), "GPTQ in 2 or 3 bits"),
        (any("_idx" in name for name in names), "compressed-tensors' actorder: group"),
    ):
        if refused and version not in (None, NEWEST):
            return f"what vLLM {version} allocates for {what} was not built here"
        if refused:
            raise UnsupportedError(f"vLLM {NEWEST} no longer runs {what}")
    return ""


@remembered
def _made(spec: ModelSpec) -> dict[tuple[str, Padding | None, int, int, bool, bool], VllmClasses]:
    """What was asked for so far: many GPUs run the same kernels, many layouts have the same ranks."""
    return {}


def _class_of(spec: ModelSpec, version: str | None) -> ModelClass | str:
    kind = spec.model_type
    if kind is None:
        return "the spec names no model_type, and what is loaded is a class's: say model_type"
    known = TOWERED if spec.towers else {**TOWERED, **CLASSES}
    if kind in known:
        return known[kind]
    check_class(spec, version)
    return f"vLLM's class for model_type {kind} was not built here, so what it loads is not known"


def _mxfp4_kernel(spec: ModelSpec, device: Device | None) -> Padding | str:
    if device is None:
        return "the GPU's kernel pads MXFP4 experts, so what is loaded needs --gpu"
    if device.vendor == "AMD" and device.name.startswith("mi3"):
        # Of gpt-oss's clipped activation all kernels have 256; of SiLU some have 128
        # (fused_moe/oracle/mxfp4.py, mxfp4_round_up_hidden_size_and_intermediate_size).
        own = spec.model_type == "gpt_oss"
        return (
            _ROCM
            if own
            else f"to what {device.name}'s kernel pads its MXFP4 experts is not known here"
        )
    sm = device.sm or 0
    if sm // 10 == 9:
        return _TRITON
    if sm // 10 == 10:
        return _TRTLLM
    if sm // 10 in (8, 12):
        return _MARLIN
    if sm and sm < 80:
        raise UnsupportedError(
            f"vLLM runs MXFP4 from compute capability 8.0 on, and {device.name} has "
            f"{sm // 10}.{sm % 10}"
        )
    return f"how vLLM's MXFP4 kernels pad experts on {device.name} is not known here"


def _both(
    spec: ModelSpec, dtype: str, layout: Layout, found: ModelClass, over: int
) -> Iterator[str]:
    """What it could be, by kernel."""
    for padding, where in ((_TRITON, "Hopper"), (_MARLIN, "Ampere, Ada and Blackwell")):
        made = load(
            spec, dtype, layout, VllmClasses(spec, dtype, found, padding, over, layout.data)
        )
        most = max(made.bytes_per_device)
        yield f"on {where} {most:,} bytes a device"


def _bf16_kernel(spec: ModelSpec, rows: tuple[Row, ...], ranks: int, device: Device | None) -> str:
    """Why experts in the model's format may be padded on this GPU; "" where they are not."""
    if device is None or (device.sm or 0) // 10 != 10 or spec.model_type == "gpt_oss":
        return ""
    for row in rows:
        tensor = row.weight.tensor
        if tensor.experts_per_token is None or row.stored.format.name not in PLAIN:
            continue
        try:
            wide = tensor.shard is not None and any(
                part.per_rank(ranks) % 128 for part in tensor.shard.parts
            )
        except ValueError:
            return ""  # ``load`` says which tensor the ranks do not divide
        if wide:
            return (
                f"on {device.name} a kernel that vLLM takes for some routings pads the experts' inner "
                "width to 128 on each rank"
            )
    return ""
