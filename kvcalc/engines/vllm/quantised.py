"""Quantised tensors as vLLM's linear and expert methods create them, where that is not as they are stored.

* Scales of blocks, of channels and of matrices are float32 (quantization/fp8.py, modelopt.py,
  compressed_tensors/schemes/). FP8 experts have one input scale for gate and up together.
* GPTQ's group index is not created (auto_gptq.py). Its experts have biases, whatever the model has
  (AutoGPTQMoEMethod); not where the group does not divide a rank's inner width, which moe_wna16.py
  runs with a smaller one, as it does AWQ's.
* compressed-tensors' packed matrices have their shape once for what is fused; for experts in the
  model's format (compressed_tensors_wNa16.py, compressed_tensors_moe/).
* An attention layer has scales of its queries, keys and values as parameters until they are loaded,
  whatever its matrices are in: four of FP8's, ModelOpt's and Quark's (kv_cache.py), three and zero points
  of compressed-tensors'. ``by``: a spec's ``quantized_by``, empty where only formats are known.
"""

from collections.abc import Iterable, Mapping
from math import gcd

from kvcalc.dtypes import Format
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.memory.ledger import Row

FUSED = ("k_proj.weight", "v_proj.weight", "up_proj.weight", "kv_a_proj_with_mqa.weight")
_CHANNEL = ("fp8_row", "int8_channel")


COMPRESSED = "compressed-tensors"


def format_of(row: Row, inner: int, by: Mapping[str, str]) -> Format:
    """The format that a row's tensor is created in. inner: an expert's inner width on a rank; 0 for
    what is no expert. Raises UnsupportedError where the method refuses the width."""
    format = row.stored.format
    if format.tile and format.tile_bytes > 1:
        if by.get("quant_method") == COMPRESSED and inner % format.tile:
            raise UnsupportedError(
                f"{row.name}: blocks of {format.tile} x {format.tile} are not cut, and a rank's inner "
                f"width is {inner} (compressed_tensors_moe): fewer tensor ranks, or --expert-parallel"
            )
        return _tiled(row, format, inner)
    if format.name.startswith(("fp8+", "int8+")):
        return one_scale(row, inner, by)
    if format.name in _CHANNEL:
        return changed(format, row_bytes=4)
    group = format.block_elements
    if format.name.startswith(("gptq", "awq", "int4")) and inner % group:
        if format.name.startswith("int4"):
            raise UnsupportedError(
                f"{row.name}: vLLM does not cut groups of {group}, and a rank's inner width is {inner}: "
                "fewer tensor ranks, or --expert-parallel"
            )
        return _regrouped(format, gcd(group, inner))
    if format.column_bytes:
        return changed(format, column_bytes=0)
    if format.name.endswith("+16"):
        if inner:
            return changed(format, once_bytes=2 if row.weight.tensor.fused > 1 else 4)
        return changed(format, once_bytes=0 if row.name.endswith(FUSED) else 16)
    return format


def _tiled(row: Row, format: Format, inner: int) -> Format:
    """Blocks whose scales are float32; of experts, smaller where a rank's inner width cuts them."""
    columns = format.tile_columns or format.tile
    if columns == format.tile:
        tile = gcd(format.tile, inner) if inner else format.tile
        return changed(format, tile=tile, tile_columns=0, tile_bytes=4)
    if inner % format.tile or inner % columns:
        raise UnsupportedError(
            f"{row.name}: what vLLM makes of blocks of {format.tile} x {columns} where a rank's inner "
            f"width is {inner} was not built here: fewer tensor ranks, or --expert-parallel"
        )
    return changed(format, tile_bytes=4)


def one_scale(row: Row, inner: int, by: Mapping[str, str]) -> Format:
    """A scale a matrix in float32, and one of its inputs where it is static: of experts, one for gate
    and up. compressed-tensors stores them in 16 bits."""
    format = row.stored.format
    once = format.once_bytes
    if by.get("quant_method") == COMPRESSED:
        once *= 2
    fused = row.weight.tensor.fused
    if inner and once == 8 and fused > 1:
        once = 4 + 4 // fused
    return format if once == format.once_bytes else changed(format, once_bytes=once)


def _regrouped(format: Format, group: int) -> Format:
    """The same with smaller groups: a scale of two bytes for each, and a zero point of AWQ's."""
    bits = 8 * (format.block_bytes - 2) // format.block_elements
    zeros = 0 if format.name.startswith("gptq") else format.zero_bits
    return changed(
        format, block_elements=group, block_bytes=group * bits // 8 + 2, column_bytes=0,
        zero_bits=zeros,
    )  # fmt: skip


def kept_together(rows: Iterable[Row], engine: str) -> str:
    """Why a checkpoint is not answered that keeps Q, K and V, or gate and up, in one matrix (Phi-3) with
    one scale: classes have one for each. "" for any other."""
    names = {row.stored.format.name for row in rows}
    for base in ("fp8", "nvfp4", "int8"):
        if base in names and any(name.startswith(f"{base}+") for name in names):
            return (
                f"what {engine} allocates for scales of matrices that the files keep in one ({base}) was "
                "not built here"
            )
    return ""


_ONE_LAYER = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


def check_blocks(row: Row, ranks: int) -> None:
    """Refuse blocks of a linear layer that tensor ranks would cut (quantization/fp8.py,
    validate_fp8_block_shape). Rows of what is one layer there, Q with K and V, gate with up, may be cut
    (layers/linear.py, _maybe_allow_fp8_block_shape_mismatch). Raises UnsupportedError."""
    format, shard = row.stored.format, row.weight.tensor.shard
    if ranks == 1 or not format.tile or shard is None:
        return
    if shard.axis == 0 and row.name.split(".")[-2] in _ONE_LAYER:
        return
    columns = format.tile_columns or format.tile
    tile = columns if shard.axis else format.tile
    for part in shard.parts:
        if (share := part.per_rank(ranks)) % tile:
            raise UnsupportedError(
                f"{row.name}: vLLM does not cut blocks of {format.tile} x {columns}, and a rank's "
                f"share is {share}: fewer tensor ranks"
            )


def expert_bias(row: Row, shape: tuple[int, ...], inner: int) -> int:
    """Bytes of the bias that GPTQ's method adds to a tensor of experts of this shape on a rank."""
    format = row.stored.format
    if not format.name.startswith("gptq") or inner % format.block_elements:
        return 0
    return 2 * shape[0] * shape[1]


_ATTENTION = {COMPRESSED: 3 * 4 + 3 * 2, "fp8": 4 * 2, "modelopt": 4 * 2, "quark": 4 * 2}


# The matrix that stands for an attention, plain or latent; and whose methods know the latent.
KEYS = ("attention.k_proj.weight", "attention.kv_b_proj.weight")
_LATENT = ("modelopt",)


def attention_scales(row: Row, by: Mapping[str, str]) -> int:
    """Bytes of the parameters beside a layer's attention: by the method, or by the format of its
    matrices where that alone is known."""
    name, method = row.stored.format.name, by.get("quant_method")
    if method is not None:
        latent = row.weight.tensor.name != KEYS[0]
        return 0 if latent and method not in _LATENT else _ATTENTION.get(method, 0)
    if row.weight.tensor.name != KEYS[0]:
        return 0
    if name in _CHANNEL or name.endswith("+16"):
        return _ATTENTION[COMPRESSED]
    return 4 * 2 if name.startswith("fp8") and (name.endswith("+4") or "block" in name) else 0
