"""Buffers of vLLM's model classes: rotary tables and the scales of attention layers.

A class makes one table for each distinct rotary setting, with a row for each position of the model's
longest context, on every rank that has such a layer, whatever the tensor ranks
(layers/rotary_embedding/__init__.py, get_rope, which keeps the tables by setting). An attention layer
keeps four float32 scales (layers/attention/attention.py, set_default_quant_scales). Views of parameters
(a Mamba mixer's conv_weights) hold nothing of their own and are not counted.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from kvcalc.engines.vllm.classes import ModelClass
from kvcalc.frozen import frozen
from kvcalc.spec.catalog import shipped
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec

_SCALES = 16  # k, v, q and the probabilities: float32


@frozen
class Tables:
    """How a class turns queries and keys: tables of a share of the head's width each.

    element_bytes: of a table's numbers. beside: bytes of what else the first stage keeps."""

    count: int = 1
    share: Fraction = Fraction(1)
    element_bytes: int = 2
    beside: int = 0


_NONE = Tables(0)
_HALF, _QUARTER = Fraction(1, 2), Fraction(1, 4)
_NORMALIZER = 2  # Gemma's, a number in the model's format
_TABLES: dict[str, Tables] = {
    **dict.fromkeys(
        ("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "phi3", "falcon",
         "cohere", "cohere2", "granite", "granitemoe", "olmoe", "exaone4", "internlm2", "internlm3",
         "lfm2", "lfm2_moe", "llama4_text", "dbrx", "ernie4_5", "ernie4_5_moe",
         "deepseek_v2", "deepseek_v3", "kimi_k2", "minicpm3", "glm_moe_dsa", "ministral3",
         "glm4_moe_lite"), Tables(),
    ),
    **dict.fromkeys(("gpt2", "opt", "mamba", "mamba2", "falcon_mamba", "jamba", "nemotron_h", "whisper",
                     "kimi_linear"), _NONE),
    **dict.fromkeys(("gemma", "gemma2"), Tables(beside=_NORMALIZER)),
    "gemma3_text": Tables(2, beside=_NORMALIZER),
    "deepseek_v32": Tables(2),
    "gpt_oss": Tables(element_bytes=4),
    **dict.fromkeys(("glm4", "glm4_moe", "nemotron", "minimax_m2"), Tables(share=_HALF)),
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text",
                     "stablelm", "gptj"), Tables(share=_QUARTER)),
}  # fmt: skip


# A spec does not say how positions are scaled, which linear, longrope and dynamic scaling make more rows
# of. Of the shipped models of the classes above these do; llama3's and YaRN's scaling does not where
# the config's longest is the scaled length.
_SCALED = (
    "phi-3", "phi-4", "deepseek-coder", "minicpm3", "ministral", "internlm", "longchat", "vicuna", "yarn",
)  # fmt: skip


# With towers: Llama 4's turns 577 positions by 44 complex numbers; Gemma 3's counts 4,096 positions, and
# the table of its full attention, scaled by 8, has 8 times the rows of the other; Qwen2.5-VL's turns 8,192
# by 40 numbers, and positions of three kinds take 4 times the rows.
_TOWERED = {
    "llama4": Tables(beside=203_104),
    "gemma3_text": Tables(9, beside=_NORMALIZER + 8 * 4096),
    "qwen2_5_vl": Tables(4, beside=655_360),
}


# The same where a server does not load them (--language-model-only).
_LEFT_OUT = (
    "qwen2.5-vl",
    "qwen3-vl",
    "gemma-3-4b",
    "gemma-3-12b",
    "gemma-3-27b",
    "medgemma",
    "llama-4",
)
_WITHOUT = {
    "llama4": Tables(),
    "gemma3": Tables(9, beside=_NORMALIZER),
    "gemma3_text": Tables(9, beside=_NORMALIZER),
    "qwen2_5_vl": Tables(4),
    "qwen3_vl": Tables(),
}


def buffer_bytes(
    spec: ModelSpec, found: ModelClass, layers: Sequence[int], first: bool
) -> int | None:
    """Bytes of a rank that has these decoder layers; None where the tables are not known."""
    attention = attention_of(spec, layers)
    each = _SCALES + (4 if spec.model_type == "kimi_linear" else 0)
    scales = each * (len(attention) + crossed_of(spec, layers))
    if not attention:
        return scales
    tables = tables_of(spec)
    if tables is None:
        return None
    numbers = table_numbers(spec, attention, tables)
    if numbers is None:
        return None
    return scales + (tables.beside if first else 0) + numbers * tables.element_bytes


def tables_of(spec: ModelSpec) -> Tables | None:
    """A model's tables; None where they are not known, or their rows are not."""
    if spec.name not in unscaled():
        return None
    kind = spec.model_type or ""
    if not spec.towers and spec.name.startswith(_LEFT_OUT):
        return _WITHOUT.get(kind)
    return (_TOWERED if spec.towers else _TABLES).get(kind)


def table_numbers(spec: ModelSpec, attention: Sequence[object], tables: Tables) -> int | None:
    """How many numbers the tables of these attentions have; None where they differ."""
    if not tables.count:
        return 0
    # Most layers have one attention, whose width takes longer to find than to know again.
    distinct = {id(mechanism): mechanism for mechanism in attention}.values()
    widths = {_width(mechanism, tables.share) for mechanism in distinct}
    if len(widths) != 1 or spec.max_position_embeddings is None:
        return None
    (width,) = widths
    return tables.count * spec.max_position_embeddings * width


def attention_of(spec: ModelSpec, layers: Sequence[int]) -> list[object]:
    """The attentions of some decoder layers."""
    blocks = (spec.blocks[decoder_layers(spec)[index].block] for index in layers)
    return [block.attention for block in blocks if block.attention is not None]


def crossed_of(spec: ModelSpec, layers: Sequence[int]) -> int:
    """How many of them look at an encoder, too."""
    blocks = (spec.blocks[decoder_layers(spec)[index].block] for index in layers)
    return sum(block.cross_attention is not None for block in blocks)


@cache
def unscaled() -> frozenset[str]:
    """The shipped models of which it is known that nothing stretches their positions."""
    return frozenset(name for name in shipped() if not name.startswith(_SCALED))


def _width(attention: object, share: Fraction) -> int:
    rotary = getattr(attention, "qk_rope_head_dim", None)
    return rotary or int(getattr(attention, "head_dim", 0) * share)
