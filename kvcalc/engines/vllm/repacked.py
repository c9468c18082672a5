"""What quantised tensors grow by when their kernel's layout is made of them.

vLLM 0.33.0, layers/fused_moe/oracle/mxfp4.py, convert_gpt_oss_weight_to_mxfp4_moe_kernel_format:

* Triton's and FlashInfer's TRT-LLM kernels take biases in float32; Marlin's as they are.
* Triton's layout on Hopper has a byte of scale for 32 numbers, in groups of 4 along a row, and rows in
  tiles of 256 (third_party/triton_kernels, HopperMXScaleLayout, eight warps; quantization/utils/
  mxfp4_utils.py). The numbers themselves lie in tiles of 16 x 64, which they are padded to before.

Blocks of FP8 in linear layers on compute capability 10.x: DeepGEMM wants each block's scale as a byte,
e8m0, for every row of it, four of them in a word (quantization/utils/fp8_utils.py,
deepgemm_post_process_fp8_weight_block; kernels/linear/scaled_mm/deep_gemm.py has who takes it). The numbers
are quantised again in their place.
"""

from math import prod

from kvcalc.dtypes import Format

_ROWS, _GROUPS, _BLOCK = 256, 4, 32


def growth(format: Format, shape: tuple[int, ...], wide_biases: bool, swizzled: bool) -> int:
    """Bytes by which a rank's stacked experts of a padded shape grow.

    shape: [experts, rows, numbers of a row], or [experts, rows] of a bias.
    """
    if len(shape) == 2:
        return 2 * prod(shape) if wide_biases else 0
    if format.name != "mxfp4" or not swizzled:
        return 0
    experts, rows, numbers = shape
    groups = numbers // _BLOCK
    tiles = -(-rows // _ROWS) * _ROWS * -(-groups // _GROUPS) * _GROUPS
    return experts * (tiles - rows * groups)


def deep_gemm(format: Format, shape: tuple[int, ...]) -> int:
    """Bytes by which the scales of a rank's linear layer in blocks of FP8 grow, from float32.

    shape: [rows, numbers of a row], in whole multiples of 64 and of 128; any other is not DeepGEMM's.
    """
    if (
        len(shape) != 2
        or format.tile != 128
        or format.tile_bytes < 2
        or format.tile_columns not in (0, 128)
    ):
        return 0
    rows, numbers = shape
    if rows % 64 or numbers % 128:
        return 0
    blocks = numbers // 128
    return rows * -(-blocks // 4) * 4 - -(-rows // 128) * blocks * 4
