"""What tensors of MXFP4 experts grow by when their kernel's layout is made of them.

vLLM 0.33.0, layers/fused_moe/oracle/mxfp4.py, convert_gpt_oss_weight_to_mxfp4_moe_kernel_format:

* Triton's and FlashInfer's TRT-LLM kernels take biases in float32; Marlin's as they are.
* Triton's layout on Hopper has a byte of scale for 32 numbers, in groups of 4 along a row, and rows in
  tiles of 256 (third_party/triton_kernels, HopperMXScaleLayout, eight warps; quantization/utils/
  mxfp4_utils.py). The numbers themselves lie in tiles of 16 x 64, which they are padded to before.
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
