"""Cohere Command: one norm without bias for both sublayers, which run in parallel; tied head.

Source: transformers 5.23, models/cohere, cohere2, cohere2_moe.
"""

from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    FULL_OR_SLIDING,
    crossed,
    decoder,
    every,
    gated,
    kinds,
    mlp_kinds,
    moe,
    softmax,
    windowed,
)
from kvcalc.spec.model import Block, ModelSpec


def cohere(c: Config) -> ModelSpec:
    """Command R; QK-norm over each head's own weights where ``use_qk_norm`` is set."""
    attention = softmax(
        c, head_dim=c.divide("hidden_size", c.hidden_size, c.num_heads),
        bias=c.flag("attention_bias"), qk_norm="full" if c.flag("use_qk_norm") else "none",
    )  # fmt: skip
    return decoder(c, Block(attention=attention, ffn=gated(c), norms=1), norm="layernorm_no_bias")


def cohere2(c: Config) -> ModelSpec:
    """Three sliding layers, then one that sees everything without rotary embedding."""
    bias = c.flag("attention_bias")
    head_dim = c.divide("hidden_size", c.hidden_size, c.num_heads)
    if c.maybe("head_dim", None) not in (None, head_dim):
        c.refuse("head_dim", "transformers sets it to hidden_size / num_attention_heads")
    c.fixed("use_qk_norm", False, what="QK-norm, which transformers' Cohere2 does not have")
    c.skip("sliding_window_pattern", "layer_switch", "order_of_interleaved_layers",
           "position_embedding_type", "use_embedding_sharing", "use_parallel_embedding")  # fmt: skip
    c.agree("use_gated_activation", True)
    c.agree("use_parallel_block", True)
    period = 1 if c.model_type == "cohere_compass_text" else c.number("sliding_window_pattern", 4)
    return decoder(c, windowed(
        c, lambda w: softmax(c, head_dim=head_dim, bias=bias, sliding_window=w),
        lambda a: Block(attention=a, ffn=gated(c), norms=1), lambda: every(period, c.num_layers),
        window=c.maybe("sliding_window"),
    ), norm="layernorm_no_bias")  # fmt: skip


def cohere_compass(c: Config) -> ModelSpec:
    """Cohere2's layers, each of which sees everything where ``layer_types`` does not say otherwise."""
    c.skip("pooling")
    return cohere2(c)


def cohere2_moe(c: Config) -> ModelSpec:
    """Experts after a dense prefix; shared experts as one layer."""
    num_dense = c.count("first_k_dense_replace", 0)
    window, bias = c.number("sliding_window"), c.flag("attention_bias")
    prefix, rest = (
        c.number("prefix_dense_sliding_window_pattern"),
        c.number("sliding_window_pattern"),
    )
    mixers = kinds(
        c, "layer_types", FULL_OR_SLIDING,
        lambda: every(prefix, num_dense) + every(rest, c.num_layers - num_dense),
    )  # fmt: skip
    ffns = mlp_kinds(c, lambda: ["dense"] * num_dense + ["moe"] * (c.num_layers - num_dense))
    width = c.number("intermediate_size")
    dense_width = c.maybe("prefix_dense_intermediate_size") or width
    shared = c.count("num_shared_experts") * width

    def block(mixer: str, ffn: str) -> Block:
        attention = softmax(c, bias=bias, sliding_window=window if mixer == "local" else None)
        experts = moe(c, width="intermediate_size", shared=shared)
        return Block(attention=attention, norms=1,
                     ffn=experts if ffn == "moe" else gated(c, dense_width))  # fmt: skip

    return decoder(c, crossed(mixers, ffns, block), norm="layernorm_no_bias")
