"""The types of GGUF files that llama.cpp's quantize offers, under the names that people use.

Source: llama.cpp v0.5.0, tools/quantize/quantize.cpp (QUANT_OPTIONS), include/llama.h (llama_ftype)
and src/llama-quant.cpp (llama_ftype_get_default_type).
"""

import re
from collections.abc import Iterator
from typing import Any

from kvcalc.dtypes import GGML, WEIGHT_FORMATS, canonical
from kvcalc.errors import UnknownFormatError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.mlx_types import MLX_WORDS, mlx_recipe


@frozen
class FileType:
    """One type of file.

    name: as quantize lists it. number: its llama_ftype. default: the ggml type that a tensor gets
    where no rule says otherwise.
    """

    name: str
    number: int
    default: str

    @property
    def word(self) -> str:
        """The name as --dtype has it: q4_k_m; gguf-bf16 for the types that are one number each."""
        low = self.name.lower()
        return f"gguf-{low}" if low in ("f32", "f16", "bf16") else low


FILE_TYPES: dict[str, FileType] = {
    name: FileType(name, number, default)
    for name, number, default in (
        ("F32", 0, "f32"), ("F16", 1, "f16"), ("BF16", 32, "bf16"),
        ("Q1_0", 40, "q1_0"), ("Q2_0", 41, "q2_0"), ("Q4_0", 2, "q4_0"), ("Q4_1", 3, "q4_1"),
        ("Q5_0", 8, "q5_0"), ("Q5_1", 9, "q5_1"), ("Q8_0", 7, "q8_0"),
        ("Q2_K", 10, "q2_K"), ("Q2_K_S", 21, "q2_K"),
        ("Q3_K_S", 11, "q3_K"), ("Q3_K_M", 12, "q3_K"), ("Q3_K_L", 13, "q3_K"),
        ("Q4_K_S", 14, "q4_K"), ("Q4_K_M", 15, "q4_K"),
        ("Q5_K_S", 16, "q5_K"), ("Q5_K_M", 17, "q5_K"), ("Q6_K", 18, "q6_K"),
        ("IQ1_S", 24, "iq1_s"), ("IQ1_M", 31, "iq1_m"),
        ("IQ2_XXS", 19, "iq2_xxs"), ("IQ2_XS", 20, "iq2_xs"),
        ("IQ2_S", 28, "iq2_xs"), ("IQ2_M", 29, "iq2_s"),
        ("IQ3_XXS", 23, "iq3_xxs"), ("IQ3_XS", 22, "iq3_s"),
        ("IQ3_S", 26, "iq3_s"), ("IQ3_M", 27, "iq3_s"),
        ("IQ4_NL", 25, "iq4_nl"), ("IQ4_XS", 30, "iq4_xs"),
        ("TQ1_0", 36, "tq1_0"), ("TQ2_0", 37, "tq2_0"), ("MXFP4_MOE", 38, "mxfp4"),
    )
}  # fmt: skip
GGUF_WORDS = tuple(each.word for each in FILE_TYPES.values())
# The files that people publish, one for each step down; those of fewer bits need an importance matrix.
LADDER = ("gguf-bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "iq4_xs", "q3_k_m", "q2_k")
# quantize's own aliases.
_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
# What else people call files: mixtures that other tools make, under names of their own.
_MIXTURE = (
    r"UD[-_].*|(Q[2-8]|IQ[1-4])_K?_?(XL|XXL|L|XS|KT|KS|KSS|KL)|Q[2-6]_K_(XL|XXL|L|H)|.*_(XL|XXL)|"
    r"IQ[1-6]_(K|KS|KT|KSS|KL)(_R4)?|Q\d_\d_[48]_[48]|.*_R[48]"
)


@frozen(kw_only=True)
class Recipe:
    """What quantize is asked for.

    imatrix: there is an importance matrix. pure: every tensor gets the type's default.
    output, token_embedding: ggml types of --output-tensor-type and --token-embedding-type.
    """

    file_type: FileType
    imatrix: bool = False
    pure: bool = False
    output: str | None = None
    token_embedding: str | None = None

    @property
    def word(self) -> str:
        """As --dtype has it, options included: iq2_xs+imatrix, q4_k_m+pure+output=q8_0."""
        parts = [self.file_type.word]
        parts += [name for name in ("imatrix", "pure") if getattr(self, name)]
        if self.output:
            parts.append(f"output={self.output.lower()}")
        if self.token_embedding:
            parts.append(f"token-embedding={self.token_embedding.lower()}")
        return "+".join(parts)


def recipe(text: str) -> Recipe | None:
    """What a --dtype asks of llama.cpp's quantize; None for one that is no GGUF type.

    ``q4_k_m``, in any case, and with its options: ``q4_k_m+imatrix+output=q8_0``. Raises UsageError
    for the name of a mixture that quantize does not make, and for an unknown option.
    """
    word, *options = text.strip().split("+")
    found = file_type(word)
    if found is None:
        return None
    fields: dict[str, Any] = {}
    for option in options:
        name, _, value = option.strip().lower().partition("=")
        if name in ("imatrix", "pure") and not value:
            fields[name] = True
        elif name in ("output", "token-embedding") and value:
            fields[name.replace("-", "_")] = tensor_type(value)
        else:
            raise UsageError(
                f"dtype {text}: '{option}' is none of imatrix, pure, output=TYPE, token-embedding=TYPE"
            )
    return Recipe(file_type=found, **fields)


def without_options(text: str | None) -> Iterator[tuple[str, str]]:
    """(an option of quantize that a --dtype holds, as the command line has it, the --dtype without it)."""
    made = None if text is None else recipe(text)
    if made is None:
        return
    options = {"imatrix": "--imatrix", "pure": "--pure", "output": "--output-tensor-type",
               "token_embedding": "--token-embedding-type"}  # fmt: skip
    for field, option in options.items():
        if value := getattr(made, field):
            yield option, changed(made, **{field: False if value is True else None}).word


def weight_word(text: str) -> str:
    """The one spelling of a --dtype: a number format, ``checkpoint``, a GGUF or an MLX type.

    Raises UnknownFormatError, naming the nearest, and UsageError for what quantize does not make.
    """
    found = recipe(text) or mlx_recipe(text)
    known = ("checkpoint", *WEIGHT_FORMATS, *GGUF_WORDS, *MLX_WORDS)
    if found is None and text.strip().lower().replace("-", "_") not in known:
        for words, meant in _METHODS:
            if re.fullmatch(words, re.sub(r"[\s_.-]+", "-", text.strip().lower())):
                raise UnknownFormatError(f"'{text}' is not a number format here ({meant})")
    return found.word if found else canonical(text, known)


def weight_dtype(text: str) -> str:
    """A format of the weights as ``--dtype`` takes it, as it was given. Raises UsageError for several, and
    for what is none."""
    if "," in text:
        raise UsageError(f"--dtype {text}: one format here")
    try:
        weight_word(text)
    except UnknownFormatError as error:
        raise UsageError(f"--dtype: {error}") from None
    return text


# What people call the work of a quantiser, in words that do not say the bytes -> those that do.
_METHODS = (
    (r"awq-.*|.*-awq", "AWQ checkpoints have awq_g128, some awq_g32 or awq_g64"),
    (r"gptq-?(int8|8-?bits?)|.*-gptq-?(int)?8.*", "GPTQ's 8 bits are gptq8_g128, gptq8_g64 or gptq8_g32"),
    (r"gptq-.*|.*-gptq.*", "GPTQ checkpoints have gptq_g128, some gptq_g32 or gptq_g64"),
    (r"auto-?round.*", "AutoRound writes GPTQ's tensors, gptq_g128, or AWQ's, awq_g128"),
    (r"(.*-)?dwq(-.*)?", "DWQ changes values, not bytes: mlx-4bit, mlx-6bit, ..."),
    (r"[2356]-?bits?", "MLX's are mlx-3bit, mlx-6bit, ...; GGUF's q2_k, q3_k_m, q5_k_m, q6_k"),
    (r"4-?bits?|(int)?4-?b", "say whose: q4_k_m (GGUF), mlx-4bit, awq_g128, gptq_g128, nf4 (bitsandbytes)"),
    (r"8-?bits?|(int)?8-?b", "say whose: q8_0 (GGUF), mlx-8bit, fp8, int8_row (bitsandbytes)"),
    (r"bnb(-.*)?|bitsandbytes(-.*)?|.*-bnb", "bitsandbytes has nf4 and nf4_double, and int8_row"),
    (r"w4a16(-.*)?", "compressed-tensors has int4_g128, or int4z_g128 with zero points"),
    (r"w8a(8|16)(-.*)?", "int8_channel is W8A8 in integers, fp8 in floats"),
    (r"fp8-block.*", "say fp8_block128"),
    (r"fp8-dynamic", "say fp8_row: compressed-tensors' FP8 with a scale a row"),
    (r"fp8-(static|per-tensor|tensor)", "say fp8"),
    (r"q[248]|q[56]", "a GGUF type says more: q8_0, q6_k, q5_k_m, q4_k_m, q4_0, q2_k"),
    (r"(.*-)?qat(-.*)?", "quantisation-aware training changes values, not bytes: q4_0, int4_g128, ..."),
    (r"exl[23].*|[\d-]+bpw.*", "exllama's bits differ by layer: name the checkpoint's folder"),
)  # fmt: skip


def tensor_type(word: str) -> str:
    """ggml's spelling of a tensor's type: q4_k -> q4_K. Raises UsageError for what is none."""
    known = {name.lower(): name for name in GGML}
    found = known.get(word.strip().lower())
    if found is None or found == "i32":
        from difflib import get_close_matches

        near = get_close_matches(word.lower(), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"'{word}' is not a type of a GGUF tensor ({hint})")
    return found


def file_type(word: str) -> FileType | None:
    """The file type that a word names, in any case; None where it is none of them.

    ``bf16``, ``f16`` and ``fp32`` name plain formats: their files are ``gguf-bf16`` and so on.
    Raises UsageError for the name of a mixture that llama.cpp's quantize does not make.
    """
    folded = word.strip().upper()
    plain = folded.removeprefix("GGUF-")
    if plain in ("F32", "F16", "BF16"):
        return FILE_TYPES[plain] if folded != plain else None
    plain = _ALIASES.get(plain, plain)
    found = FILE_TYPES.get(plain)
    if found is not None:
        return found
    if re.fullmatch(_MIXTURE, plain):
        raise UsageError(
            f"{word}: a mixture of another tool's making, not a type of llama.cpp's quantize: its "
            f"bytes cannot be told from its name; name the file itself (MODEL.gguf), or say "
            f"--dtype {_nearest(plain).word}, the nearest type that is one"
        )
    return None


# The type of as many bits that quantize makes, where a mixture is none of its own.
_OF_BITS = {
    "Q2": "Q2_K", "Q3": "Q3_K_M", "Q4": "Q4_K_M", "Q5": "Q5_K_M", "Q6": "Q6_K", "Q8": "Q8_0",
    "IQ1": "IQ1_M", "IQ2": "IQ2_M", "IQ3": "IQ3_M", "IQ4": "IQ4_XS", "IQ5": "Q5_K_S", "IQ6": "Q6_K",
}  # fmt: skip


def _nearest(mixture: str) -> FileType:
    """The file type of as many bits. mixture: its name, in capitals."""
    from difflib import get_close_matches

    stem = re.sub(r"^UD[-_]", "", mixture)
    bits = re.match(r"I?Q\d", stem)
    name = stem if stem in FILE_TYPES else _OF_BITS.get(bits[0] if bits else "", "")
    return FILE_TYPES[name or get_close_matches(stem, FILE_TYPES, n=1, cutoff=0.0)[0]]
