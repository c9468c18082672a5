"""Zhipu GLM 4 to 4.7: biases on Q, K and V; sandwich norms; experts with a buffer in the router.

Source: transformers 5.23, models/glm, glm4, glm4_moe (GLM with latent attention: deepseek.py).
"""

from kvcalc.convert.config import Config
from kvcalc.convert.families.deepseek import routed
from kvcalc.convert.parts import QKV, decoder, first_dense, gated, softmax
from kvcalc.spec.model import Block, ModelSpec


def glm(c: Config) -> ModelSpec:
    """Biases on Q, K and V by ``attention_bias``."""
    attention = softmax(c, bias=QKV if c.flag("attention_bias") else ())
    return decoder(c, Block(attention=attention, ffn=gated(c)))


def glm4(c: Config) -> ModelSpec:
    """Norms before and after each sublayer."""
    attention = softmax(c, bias=QKV if c.flag("attention_bias") else ())
    return decoder(c, Block(attention=attention, ffn=gated(c), norms=4))


def glm4v(c: Config) -> ModelSpec:
    """GLM 4 with biases on Q, K and V always."""
    return decoder(c, Block(attention=softmax(c, bias=QKV), ffn=gated(c), norms=4))


def glm_ocr(c: Config) -> ModelSpec:
    """GLM 4 without biases."""
    return decoder(c, Block(attention=softmax(c), ffn=gated(c), norms=4))


def glm4_moe(c: Config) -> ModelSpec:
    """Dense layers first, then experts with shared ones."""
    attention = softmax(
        c, bias=QKV if c.flag("attention_bias") else (),
        qk_norm="per_head" if c.flag("use_qk_norm", False) else "none",
    )  # fmt: skip
    kinds = first_dense(c, c.count("first_k_dense_replace"))
    return decoder(c, [
        ((kind,), Block(attention=attention, ffn=routed(c) if kind == "moe" else gated(c)))
        for kind in kinds
    ])  # fmt: skip
