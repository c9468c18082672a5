"""Number formats: how many bytes a row of elements takes, scales included.

Every format is a block format: ``block_elements`` elements share ``block_bytes`` bytes, and a row
(the last axis of a key, a value or a weight) may carry ``row_bytes`` more for its own scale.
A plain dtype is a block of one element. A row that the block does not divide cannot be stored:
that is an error here, never a rounded number.

Sources. q8_0 ... iq4_nl: ggml block structs (ggml-common.h), 32 elements a block with fp16 scales.
nvfp4: NVIDIA, e2m1 with one e4m3 scale per 16. mxfp8, mxfp4: OCP Microscaling Formats v1.0, one
e8m0 scale per 32. per_token_head: vLLM v1/kv_cache_interface.py, one fp32 scale per K or V vector
of one head. fp8_ds_mla: vLLM MLAAttentionSpec and FlashMLA README, 656 bytes for the 512 + 64
latent of DeepSeek-V3.2; 584 for the 448 + 64 shared key and value of DeepSeek-V4, whose unfinished
blocks stay fp32 (vLLM models/deepseek_v4/compressor.py). fp8_block128: DeepSeek-V3 weights, one
fp32 scale per 128 x 128 tile; fp8_block128_e8m0: DeepSeek-V4's, one e8m0 scale per tile.
int4_g*: compressed-tensors pack-quantized, a 16-bit scale per group.
fp8_row, int8_channel: its float-quantized and int-quantized with a scale per channel, in 16 bits.
gptq_g*, gptq8_g* (8 bits): AutoGPTQ's qweight, scales in fp16, qzeros and g_idx; awq_g*: AutoAWQ's,
without g_idx. int4z_g*: pack-quantized with zero points, which it packs as AWQ does.
int8_row, nf4: bitsandbytes, an fp32 scale per row (SCB), and per 64 elements (absmax); nf4_double:
absmax in 8 bits, with an fp32 scale per 256 of them (QLoRA's double quantisation).
mlx4_g*, mlx8_g*: MLX's affine quantisation, a scale and a bias per group in 16 bits.
int2: BitNet's ternary weights, four in a byte.
GGML: the tensor types of GGUF files under ggml's own names (ggml.c, type_traits; ggml-common.h).
"""

from functools import cached_property, lru_cache
from math import prod
from typing import Literal

from kvcalc.errors import UnknownFormatError, UsageError
from kvcalc.frozen import frozen
from kvcalc.names import meant

# What a cached tensor is to its mechanism; the number formats of K, V and states hang on it.
# key_value: one vector that serves as key and as value (DeepSeek-V4, GTA), stored once.
Role = Literal[
    "key", "value", "key_value", "latent", "rope_key", "index", "conv", "buffer", "state"
]


@frozen
class Format:
    """A number format of rows of elements.

    block_elements elements take block_bytes bytes; each row takes row_bytes more (its scale).
    tile: a second scale grid for two-dimensional weights: tile_bytes per tile x tile elements
        (tile x tile_columns where that is not 0).
    zero_bits: a zero point for each block of a weight (each row with zero_per_row), packed across
        rows into 32-bit words, the last of which may be filled up (zero_padded).
    column_bytes: what each input column of a weight matrix takes beside (GPTQ's group index).
    scaled_elements: elements of a whole weight whose scales share an fp32 scale of their own.
    once_bytes: what each matrix takes beside, whatever its size: a scale of all, its shape.
    """

    name: str
    block_elements: int
    block_bytes: int
    row_bytes: int = 0
    tile: int = 0
    tile_bytes: int = 4
    zero_bits: int = 0
    column_bytes: int = 0
    scaled_elements: int = 0
    once_bytes: int = 0
    tile_columns: int = 0
    zero_per_row: bool = False
    zero_padded: bool = False

    def row(self, elements: int) -> int:
        """Bytes of one row of ``elements`` elements. Raises ValueError when no whole block fits."""
        blocks, rest = divmod(elements, self.block_elements)
        if rest:
            raise ValueError(
                f"{self.name} stores blocks of {self.block_elements} elements, "
                f"and {elements} is not a multiple of {self.block_elements}"
            )
        return blocks * self.block_bytes + self.row_bytes

    def share(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A rank's share of a tensor as it is held: MXFP4's kernels pad its rows to whole blocks, which
        gpt-oss cut over 4 ranks is not."""
        if self.name != "mxfp4":
            return shape
        return (*shape[:-1], -(-shape[-1] // self.block_elements) * self.block_elements)

    def element_bytes(self, elements: int) -> int:
        """Bytes of so many elements of whole blocks, their own scales included where a block
        holds them."""
        return elements // self.block_elements * self.block_bytes

    @cached_property
    def by_blocks(self) -> bool:
        """Whether bytes follow from elements, rows and columns, where blocks and words are whole."""
        return not (self.tile or self.scaled_elements or self.once_bytes or self.zero_per_row)

    @cached_property
    def only_blocks(self) -> bool:
        """Whether bytes follow from elements alone, where blocks are whole."""
        return self.by_blocks and not (self.row_bytes or self.column_bytes or self.zero_bits)

    def tensor(self, shape: tuple[int, ...], fused: int = 1) -> int:
        """Bytes of a weight tensor whose last axis is the row.

        fused: how many matrices lie along the axis before it, each with scales of its own.
        Raises ValueError where the format cannot hold the shape.
        """
        key = (shape, fused)
        found = self._sizes.get(key)
        if found is None:
            if len(self._sizes) == 1 << 12:
                self._sizes.clear()
            found = self._sizes[key] = self._tensor(shape, fused)
        return found

    @cached_property
    def _sizes(self) -> dict[tuple[tuple[int, ...], int], int]:
        """The last sizes asked for: layers are alike, and models too."""
        return {}

    def _tensor(self, shape: tuple[int, ...], fused: int) -> int:
        if fused > 1 and shape[-2] % fused == 0:
            return fused * self.tensor((*shape[:-2], shape[-2] // fused, shape[-1]))
        scales = self.once_bytes * prod(shape[:-2])
        if self.tile:
            columns = self.tile_columns or self.tile
            tiles = -(-shape[-2] // self.tile) * -(-shape[-1] // columns)
            scales += self.tile_bytes * tiles * prod(shape[:-2])
        if self.zero_bits:
            words, rest = divmod(shape[-2] * self.zero_bits, 32)
            if rest and self.zero_padded:
                words += 1
            elif rest:
                per_word = 32 // self.zero_bits
                raise ValueError(
                    f"{self.name} packs the zero points of {per_word} rows, "
                    f"and {shape[-2]} is not a multiple of {per_word}"
                )
            zeros = 1 if self.zero_per_row else shape[-1] // self.block_elements
            scales += 4 * words * zeros * prod(shape[:-2])
        scales += self.column_bytes * shape[-1] * prod(shape[:-2])
        if self.scaled_elements:
            scales += 4 * -(-prod(shape) // self.scaled_elements)
        return prod(shape[:-1]) * self.row(shape[-1]) + scales


def _plain(name: str, num_bytes: int) -> Format:
    return Format(name, 1, num_bytes)


PLAIN = {
    "fp32": _plain("fp32", 4),
    "bf16": _plain("bf16", 2),
    "fp16": _plain("fp16", 2),
    "fp8": _plain("fp8", 1),
    "int8": _plain("int8", 1),
    "int4": Format("int4", 2, 1),
}
BLOCK = {
    "q8_0": Format("q8_0", 32, 34),
    "q5_1": Format("q5_1", 32, 24),
    "q5_0": Format("q5_0", 32, 22),
    "q4_1": Format("q4_1", 32, 20),
    "q4_0": Format("q4_0", 32, 18),
    "iq4_nl": Format("iq4_nl", 32, 18),
    "nvfp4": Format("nvfp4", 16, 9),
    "mxfp8": Format("mxfp8", 32, 33),
    "mxfp4": Format("mxfp4", 32, 17),
}
PER_TOKEN_HEAD = {
    "fp8_per_token_head": Format("fp8_per_token_head", 1, 1, row_bytes=4),
    "int8_per_token_head": Format("int8_per_token_head", 1, 1, row_bytes=4),
    "int4_per_token_head": Format("int4_per_token_head", 2, 1, row_bytes=4),
}
WEIGHTS_ONLY = {
    "fp8_block128": Format("fp8_block128", 1, 1, tile=128),
    "fp8_block128_e8m0": Format("fp8_block128_e8m0", 1, 1, tile=128, tile_bytes=1),
    "fp8_row": Format("fp8_row", 1, 1, row_bytes=2),
    "int8_row": Format("int8_row", 1, 1, row_bytes=4),
    "int8_channel": Format("int8_channel", 1, 1, row_bytes=2),
    "nf4": Format("nf4", 64, 36),
    "nf4_double": Format("nf4_double", 64, 33, scaled_elements=64 * 256),
    "int2": Format("int2", 4, 1),
    **{f"awq_g{g}": Format(f"awq_g{g}", g, g // 2 + 2, zero_bits=4) for g in (32, 64, 128)},
    **{
        f"gptq_g{g}": Format(f"gptq_g{g}", g, g // 2 + 2, zero_bits=4, column_bytes=4)
        for g in (32, 64, 128)
    },
    **{
        f"gptq8_g{g}": Format(f"gptq8_g{g}", g, g + 2, zero_bits=8, column_bytes=4)
        for g in (32, 64, 128)
    },
    **{
        f"int4z_g{g}": Format(f"int4z_g{g}", g, g // 2 + 2, zero_bits=4, zero_padded=True)
        for g in (32, 64, 128)
    },
    **{f"mlx4_g{g}": Format(f"mlx4_g{g}", g, g // 2 + 4) for g in (32, 64, 128)},
    **{f"mlx8_g{g}": Format(f"mlx8_g{g}", g, g + 4) for g in (32, 64, 128)},
    "int4_g128": Format("int4_g128", 128, 66),
    "int4_g64": Format("int4_g64", 64, 34),
    "int4_g32": Format("int4_g32", 32, 18),
}
# Name -> (elements of a block, bytes of a block).
_GGML_BLOCKS = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "i32": (1, 4),
    "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34),
    "q2_K": (256, 84), "q3_K": (256, 110), "q4_K": (256, 144), "q5_K": (256, 176),
    "q6_K": (256, 210),
    "iq1_s": (256, 50), "iq1_m": (256, 56), "iq2_xxs": (256, 66), "iq2_xs": (256, 74),
    "iq2_s": (256, 82), "iq3_xxs": (256, 98), "iq3_s": (256, 110), "iq4_nl": (32, 18),
    "iq4_xs": (256, 136),
    "tq1_0": (256, 54), "tq2_0": (256, 66), "mxfp4": (32, 17), "q1_0": (128, 18), "q2_0": (64, 18),
}  # fmt: skip
GGML = {name: Format(name, *block) for name, block in _GGML_BLOCKS.items()}
# mlx.core.quantize: a scale and a bias a group of 64 (or 32), in 16 bits.
MLX_CACHE = {
    **{f"mlx-{bits}bit": Format(f"mlx-{bits}bit", 64, 8 * bits + 4) for bits in (8, 6, 5, 4, 3, 2)},
    **{f"mlx-{bits}bit-g32": Format(f"mlx-{bits}bit-g32", 32, 4 * bits + 4) for bits in (8, 4)},
}
# The latent is e4m3 with an fp32 scale per 128; the rotary key stays bf16; so does nothing else.
# DeepSeek-V4's one vector of 512: 448 e4m3, 64 rotary bf16, an e8m0 scale per 64 padded to 8 bytes.
# Its compressors' buffers are fp32.
DS_MLA: dict[Role, Format] = {
    "latent": Format("fp8_ds_mla", 128, 132),
    "rope_key": Format("fp8_ds_mla", 1, 2),
    "index": Format("fp8_ds_mla", 128, 132),
    "key_value": Format("fp8_ds_mla", 512, 584),
    "buffer": Format("fp8_ds_mla", 1, 4),
}
_ALIASES = {
    "float32": "fp32", "float": "fp32", "f32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16", "half": "fp16", "f16": "fp16",
    "float8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "float8_e4m3fn": "fp8", "e4m3": "fp8",
}  # fmt: skip

_CACHE = {**PLAIN, **BLOCK, **PER_TOKEN_HEAD, **MLX_CACHE}
_WEIGHT = {**PLAIN, **BLOCK, **WEIGHTS_ONLY}
CACHE_FORMATS = (*_CACHE, "fp8_ds_mla")
WEIGHT_FORMATS = tuple(_WEIGHT)
STATE_FORMATS = ("fp32", "bf16", "fp16", "fp8")


def canonical(name: str, allowed: tuple[str, ...]) -> str:
    """The one spelling of a format's name. Raises UnknownFormatError, naming what it may be."""
    folded = name.strip().lower().removeprefix("torch.")
    folded = _ALIASES.get(folded, folded)
    if folded == "gguf" and folded not in allowed:
        raise UnknownFormatError(
            "'gguf' is a container of many types: say which, such as --dtype q4_k_m"
        )
    if folded not in allowed:
        hint = _meant(folded, allowed) or f"known: {', '.join(dict.fromkeys(allowed))}"
        raise UnknownFormatError(f"'{name}' is not a number format here ({hint})")
    return folded


def _meant(name: str, allowed: tuple[str, ...]) -> str:
    """What a word that is no format may stand for: two signs exchanged, or a method without a group."""
    near = meant(name, allowed) or [
        each for each in allowed
        for at in range(len(name) - 1)
        if name[:at] + name[at + 1] + name[at] + name[at + 2 :] == each
    ]  # fmt: skip
    if len(near) == 1:
        return f"did you mean '{near[0]}'?"
    # A method alone is no format: its group decides the bytes.
    grouped = [each for each in allowed if each.startswith(f"{name.partition('_g')[0]}_g")]
    return f"its groups: {', '.join(grouped)}" if grouped else ""


def one_format(text: str, option: str, allowed: tuple[str, ...], advice: str = "") -> str:
    """A format's name as it was given. Raises UsageError naming the option for several, or none."""
    if "," in text:
        raise UsageError(f"{option} {text}: one format here{advice}")
    try:
        canonical(text, allowed)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    return text


def cache_dtype(text: str) -> str:
    """A cache's format as ``--kv-dtype`` takes it, as it was given. Raises UsageError for what is none."""
    for part in text.split(":", 1):
        one_format(part, "--kv-dtype", CACHE_FORMATS, "; 'kvcalc compare' takes several")
    return text


def state_dtype(text: str) -> str:
    """A format of recurrent states as ``--state-dtype`` takes it. Raises as ``one_format``."""
    return one_format(text, "--state-dtype", STATE_FORMATS)


def weight_format(name: str) -> Format:
    """The format of a weight tensor."""
    name = canonical(name, WEIGHT_FORMATS)
    return _WEIGHT[name]


@frozen
class CacheDtypes:
    """The number formats of one cache: keys, values and recurrent states.

    A latent, a shared key and value, a rotary key, an index key, a compressor's buffer and a
    convolution's columns follow the key format.
    state is None when each mechanism's own state dtype holds (fp32 unless its spec says otherwise).
    """

    key: str = "bf16"
    value: str = "bf16"
    state: str | None = None

    @classmethod
    @lru_cache(256)
    def parse(cls, kv_dtype: str, state_dtype: str | None = None) -> "CacheDtypes":
        """Read ``bf16`` or ``q8_0:bf16`` (keys : values). Raises UnknownFormatError."""
        key, colon, value = kv_dtype.partition(":")
        key = canonical(key, CACHE_FORMATS)
        value = canonical(value, CACHE_FORMATS) if colon else key
        state = canonical(state_dtype, STATE_FORMATS) if state_dtype else None
        return cls(key, value, state)

    @classmethod
    def need(cls, kv_dtype: str | None) -> str:
        """The format of the need beside an engine's cache: the same, or bf16 for one that is its own."""
        try:
            return cls.parse(kv_dtype or "bf16").kv_name
        except ValueError:
            return "bf16"

    @property
    def kv_name(self) -> str:
        """``bf16`` or ``q8_0:bf16``, as the user would write it."""
        return self.key if self.key == self.value else f"{self.key}:{self.value}"

    def format(self, role: Role, own: str | None = None) -> Format:
        """The format of a tensor with this role. own: the dtype that the spec fixed for a state, or
        that a library gives this tensor whatever the cache is in.

        Raises ValueError where the format cannot hold such a tensor.
        """
        if role == "state":
            return PLAIN[self.state or own or "fp32"]
        if own is not None:
            return PLAIN[own]
        name = self.value if role == "value" else self.key
        if name == "fp8_ds_mla":
            if role not in DS_MLA:
                raise ValueError(
                    f"fp8_ds_mla is a layout of MLA latents, DeepSeek-V4 entries and index keys; "
                    f"this layer keeps a {role}"
                )
            return DS_MLA[role]
        return _CACHE[name]
