"""Quantised tensors as SGLang 0.5.23's methods create them, where neither as stored nor as vLLM's do.

* GPTQ's group index is created, once for matrices that are one layer there (quantization/gptq/schemes/
  gptq_marlin.py). Checkpoints that are not symmetric, or of 2 and 3 bits, have no kernel on NVIDIA GPUs
  (quantization/__init__.py registers gptq_marlin alone).
* GPTQ's experts have the scales of all ranks' groups of down_proj, zero points of 16 bits for eight or
  four numbers, and a group index with its order beside it (gptq_moe.py, GPTQMarlinMoEScheme).
* compressed-tensors' packed experts have such an index and order whether the checkpoint has or not
  (compressed_tensors_wNa16_moe.py); its int8 experts run on NPUs alone.
* A layer whose attention the class hands its method on has scales of keys and of values: FP8's always,
  ModelOpt's and compressed-tensors' where the checkpoint declares a cache (kv_cache.py).
* ModelOpt's NVFP4 experts have their block scales once more in tiles of 128 x 4, where no TRT-LLM kernel
  takes them (modelopt_quant.py, ModelOptNvFp4FusedMoEMethod).
"""

from math import prod

from kvcalc.dtypes import Format
from kvcalc.engines.vllm import quantised as vllm
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.memory.ledger import Row
from kvcalc.spec.model import ModelSpec

_INDEX = 4
# A matrix that is one with the queries', and has no scale of its own (fused_qkv_a_proj_with_mqa).
_WITH_QUERIES = "kv_a_proj_with_mqa.weight"
_PAIR = 2 * 4  # of keys and of values, float32
# Classes of attention that hand no method on to what keeps keys and values.
_WITHOUT = ("qwen3", "glm4_moe")


def format_of(row: Row, inner: int, by: dict[str, str]) -> Format:
    """The format that a row's tensor is created in. inner: an expert's inner width on a rank; 0 for
    what is no expert. Raises UnsupportedError for what a method refuses."""
    format = row.stored.format
    if format.name.startswith("gptq") and not inner:
        return changed(format, column_bytes=0) if row.name.endswith(vllm.FUSED) else format
    if format.name.endswith("+16") and inner:
        _whole_groups(row, inner)
        fused = row.weight.tensor.fused
        return changed(format, once_bytes=4 // fused, column_bytes=2 * _INDEX // fused)
    if format.name.startswith(("fp8+", "nvfp4+")) and row.name.endswith(_WITH_QUERIES):
        return changed(format, once_bytes=0)
    if format.name == "int8_channel" and inner:
        raise UnsupportedError(f"{row.name}: SGLang runs experts in int8 on NPUs alone")
    return vllm.format_of(row, inner, by)


def _whole_groups(row: Row, inner: int) -> None:
    group = row.stored.format.block_elements
    if row.stored.format.row_bytes == 0 and inner % group:
        raise UnsupportedError(
            f"{row.name}: SGLang does not cut groups of {group}, and a rank's inner width is {inner}: "
            "fewer tensor ranks, or --expert-parallel"
        )


def gptq_experts(row: Row, shape: tuple[int, ...], among: int, by: dict[str, str]) -> int:
    """Bytes of a rank's stacked experts of GPTQ. shape: of the rank's share, [experts, outputs,
    inputs]. among: how many ranks share an expert."""
    format, tensor = row.stored.format, row.weight.tensor
    experts, outputs, inputs = shape
    bits = format.zero_bits
    cut = tensor.shard is not None and tensor.shard.axis % len(shape) == 2
    full = inputs * among if cut and "desc_act" not in by else inputs
    groups = 1 if format.row_bytes else full // format.block_elements
    numbers = outputs * inputs * bits // 8
    scales = groups * (outputs * 2 + outputs * bits // 32 * 2)
    return experts * (numbers + scales + 2 * _INDEX * inputs)


def attention_scales(row: Row, spec: ModelSpec, by: dict[str, str]) -> int:
    """Bytes of the scales beside an attention. row: of its matrix of keys, or of latent attention's."""
    pairs = {"attention.k_proj.weight": 1, "attention.kv_b_proj.weight": 2}
    found = pairs.get(row.weight.tensor.name, 0)
    if not found or (spec.model_type or "").startswith(_WITHOUT):
        return 0
    method = by.get("quant_method")
    if method is None:
        has = row.stored.format.name.startswith("fp8")
    else:
        has = method == "fp8" or spec.declared_cache.get(method) == "fp8"
    return found * _PAIR if has else 0


def swizzled(row: Row, shape: tuple[int, ...]) -> int:
    """Bytes of a rank's block scales of NVFP4 experts in tiles. shape: as of ``gptq_experts``."""
    *experts, outputs, inputs = shape
    groups = inputs // row.stored.format.block_elements
    return prod(experts) * (-(-outputs // 128) * 128) * (-(-groups // 4) * 4)


def dropped(row: Row, shape: tuple[int, ...], desc_act: bool) -> int:
    """Bytes of a rank's tensor that are set free once it is loaded. shape: of the rank's share.

    GPTQ's linear layers lose their zero points, which a symmetric checkpoint does not need, and the group
    index; experts the index and its order (gptq_kernels.py, compressed_tensors_wNa16_moe.py).
    """
    format = row.stored.format
    experts, outputs, inputs = (1, *shape)[-3:]
    if row.component == "experts" and len(shape) == 3:
        indexed = (format.name.startswith("gptq") and not desc_act) or format.name.endswith("+16")
        return 2 * _INDEX * experts * inputs if indexed else 0
    if not format.name.startswith("gptq"):
        return 0
    # With activations sorted a rank has the zero points of all inputs, as ``whole_scales`` counts them.
    full = row.weight.tensor.shape[1] if desc_act else inputs
    groups = 1 if format.row_bytes else full // format.block_elements
    zeros = groups * (outputs * format.zero_bits // 32) * 4
    if row.name.endswith(vllm.FUSED):
        return zeros
    # Sorted by activation the index stays, and its order stands beside it.
    return zeros + (-1 if desc_act else 1) * _INDEX * inputs


def whole_scales(row: Row, shape: tuple[int, ...], inputs: int) -> int:
    """Bytes of a rank's share of a matrix that ranks cut along its inputs, with the scales of all of them,
    as GPTQ's method makes it where activations are sorted (marlin_repeat_scales_on_all_ranks)."""
    format = row.stored.format
    outputs, own = shape
    groups = inputs // format.block_elements
    scales = groups * (outputs * 2 + outputs * format.zero_bits // 32 * 4)
    return outputs * own * format.zero_bits // 8 + scales + _INDEX * own
