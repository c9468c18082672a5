"""The formats that files store tensors in: those of kvcalc.dtypes, ggml's, and families by a rule.

A spec names them under ``weight_formats``. ``nvfp4+8`` is nvfp4 and eight bytes for each matrix
beside it (two fp32 scales); ``q4_K|q6_K`` stores the first half of a tensor's rows in the one, the
second in the other (experts' gate and up).

Families, bits and group size in their names, ``row`` for one group a row:
int4_g64, int4z_g64: compressed-tensors pack-quantized, a scale of 16 bits a group (``_fp32``: of 32),
with zero points (z) packed into 32-bit words across rows; ``_idx``: four bytes an input column.
gptq3_g128: AutoGPTQ's qweight, qzeros, scales in fp16 and g_idx; ``_noidx`` without the last.
awq4_g64: AutoAWQ's qweight, qzeros and scales. mlx6_g64, mlx-6bit: mlx.core.quantize, a scale and a
bias a group in 16 bits (mlx-6bit-fp32: in 32); mlx-6bit-g32, mlx-mxfp8: see kvcalc.mlx_types.
hqq4_g64: HQQ's packed weights, a scale and a zero a group in 16 bits.
fp8_block64x128, ``_bf16``, ``_e8m0``: a scale a tile in fp32, bf16, e8m0. fp8_row_fp32: a scale a row.
int8z_row: torchao's, a scale in fp32 and a zero point of a byte a row.
"""

import re
from collections.abc import Callable
from functools import cache

from kvcalc.dtypes import Format, weight_format
from kvcalc.errors import UnknownFormatError
from kvcalc.frozen import changed
from kvcalc.mlx_types import stored_word

# ggml type -> (elements of a block, bytes of a block): ggml-common.h and ggml.c, type_traits.
_GGML = {
    "q2_K": (256, 84), "q3_K": (256, 110), "q4_K": (256, 144), "q5_K": (256, 176),
    "q6_K": (256, 210), "q8_K": (256, 292), "q8_1": (32, 36),
    "iq1_s": (256, 50), "iq1_m": (256, 56), "iq2_xxs": (256, 66), "iq2_xs": (256, 74),
    "iq2_s": (256, 82), "iq3_xxs": (256, 98), "iq3_s": (256, 110), "iq4_xs": (256, 136),
    "tq1_0": (256, 54), "tq2_0": (256, 66), "q1_0": (128, 18), "q2_0": (64, 18),
    "f64": (1, 8), "i8": (1, 1), "i16": (1, 2), "i32": (1, 4), "i64": (1, 8),
}  # fmt: skip
_GGML_FORMATS = {name.lower(): Format(name, *block) for name, block in _GGML.items()}

_SCALE_BYTES = {"": 4, "_bf16": 2, "_e8m0": 1}
_BITS, _GROUP = r"(?P<bits>[2-8])", r"(g(?P<group>[1-9][0-9]{0,5})|row)"
MAX_ONCE_BYTES = 1 << 20


def _grouped(
    name: str,
    bits: int,
    group: int | None,
    scale: int,
    *,
    zero: int = 0,
    column: int = 0,
    padded: bool = False,
) -> Format:
    """Elements of ``bits`` with ``scale`` bytes a group (or row), zero points of ``zero`` bits."""
    if group is None:
        elements = 8  # the fewest whose bits are whole bytes
        return Format(name, elements, bits, row_bytes=scale, zero_bits=zero, column_bytes=column,
                      zero_per_row=True, zero_padded=padded)  # fmt: skip
    if group * bits % 8:
        raise ValueError(f"{name}: a group of {group} elements of {bits} bits is not whole bytes")
    return Format(name, group, group * bits // 8 + scale, zero_bits=zero, column_bytes=column,
                  zero_padded=padded)  # fmt: skip


def _integers(match: re.Match[str], bits: int, group: int | None) -> Format:
    return _grouped(match[0], bits, group, 4 if match["wide"] else 2,
                    zero=bits if match["zero"] else 0, column=4 if match["idx"] else 0,
                    padded=True)  # fmt: skip


def _gptq(match: re.Match[str], bits: int, group: int | None) -> Format:
    return _grouped(match[0], bits, group, 2, zero=bits, column=0 if match["noidx"] else 4)


def _awq(match: re.Match[str], bits: int, group: int | None) -> Format:
    return _grouped(match[0], bits, group, 2, zero=bits)


def _two_numbers(match: re.Match[str], bits: int, group: int | None) -> Format:
    return _grouped(match[0], bits, group, 4)


_FAMILIES: tuple[tuple[str, Callable[[re.Match[str], int, int | None], Format]], ...] = (
    (rf"int{_BITS}(?P<zero>z)?_{_GROUP}(?P<wide>_fp32)?(?P<idx>_idx)?", _integers),
    (rf"gptq(?P<bits>[2-8])?_{_GROUP}(?P<noidx>_noidx)?", _gptq),
    (rf"awq(?P<bits>[2-8])?_{_GROUP}", _awq),
    (rf"mlx{_BITS}_{_GROUP}", _two_numbers),
    (rf"hqq(?P<bits>[1248])_{_GROUP}", _two_numbers),
)


@cache
def stored_format(name: str) -> tuple[Format, ...]:
    """The format that a spec's word names; two where a tensor's halves differ.

    Raises UnknownFormatError for a word that names none.
    """
    return tuple(_one(part) for part in name.split("|", 1))


def _one(name: str) -> Format:
    base, plus, extra = name.partition("+")
    if plus and not (extra.isascii() and extra.isdigit() and int(extra) <= MAX_ONCE_BYTES):
        raise UnknownFormatError(f"'{name}': what stands after + is a number of bytes")
    format = _base(base)
    if not plus:
        return format
    return changed(format, name=f"{format.name}+{int(extra)}", once_bytes=int(extra))


def _base(name: str) -> Format:
    lowered = name.lower()
    if lowered in _GGML_FORMATS:
        return _GGML_FORMATS[lowered]
    mlx = stored_word(lowered)
    if mlx is not None:
        return mlx
    if lowered in ("fp8_row_fp32", "int8z_row"):
        return Format(lowered, 1, 1, row_bytes=4 if lowered == "fp8_row_fp32" else 5)
    tiles = re.fullmatch(r"fp8_block([1-9]\d{0,4})x([1-9]\d{0,4})(_bf16|_e8m0)?", lowered)
    if tiles:
        return Format(lowered, 1, 1, tile=int(tiles[1]), tile_columns=int(tiles[2]),
                      tile_bytes=_SCALE_BYTES[tiles[3] or ""])  # fmt: skip
    try:
        return weight_format(name)
    except UnknownFormatError:
        for pattern, make in _FAMILIES:
            match = re.fullmatch(pattern, lowered)
            if match:
                return _made(match, make)
        raise


def _made(match: re.Match[str], make: Callable[[re.Match[str], int, int | None], Format]) -> Format:
    group = match["group"]
    try:
        return make(match, int(match["bits"] or 4), int(group) if group else None)
    except ValueError as error:
        raise UnknownFormatError(str(error)) from None
