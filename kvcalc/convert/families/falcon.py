"""TII Falcon 1 and 2 (multi-query, then grouped) and Falcon-H1 (attention beside Mamba-2).

Source: transformers 5.23, models/falcon, falcon_h1.
"""

from dataclasses import replace

from kvcalc.convert.config import Config
from kvcalc.convert.families.mamba import mamba2_fields
from kvcalc.convert.parts import decoder, dense, gated, softmax
from kvcalc.spec.model import Block, ModelSpec


def falcon(c: Config) -> ModelSpec:
    """One norm or two for sublayers that run in parallel; the heads cached are those projected."""
    c.also("hidden_size", "n_embed")
    c.skip("alibi", "apply_residual_connection_post_layernorm")
    heads = c.num_heads
    new = c.flag("new_decoder_architecture")
    if new:
        kv_heads = c.maybe("num_kv_heads") or heads
        c.skip("multi_query")
    else:
        kv_heads = 1 if c.flag("multi_query") else (c.maybe("num_kv_heads") or heads)
        c.skip("num_kv_heads")
        if not c.flag("multi_query") and kv_heads != heads:
            c.refuse("num_kv_heads", "the old architecture projects every head or one")
    stated = c.maybe("num_ln_in_parallel_attn")
    parallel = c.flag("parallel_attn")
    norms = 2 if not parallel or stated == 2 or (stated is None and new) else 1
    bias = c.flag("bias")
    attention = softmax(c, kv_heads=kv_heads, bias=bias,
                        head_dim=c.divide("hidden_size", c.hidden_size, heads))  # fmt: skip
    if new and attention.kind == "mqa":
        # transformers repeats the one head of this architecture before it caches it, as it does groups'.
        attention = replace(attention, kind="gqa")
    ffn = dense(c, c.maybe("ffn_hidden_size") or 4 * c.hidden_size, bias=bias)
    return decoder(c, Block(attention=attention, ffn=ffn, norms=norms), norm="layernorm")


def falcon_h1(c: Config) -> ModelSpec:
    """Every layer runs attention and Mamba-2 side by side."""
    recurrent = mamba2_fields(
        c, c.maybe("mamba_d_ssm") or int(c.real("mamba_expand") * c.hidden_size),
        gated_norm=c.flag("mamba_rms_norm"),
    )  # fmt: skip
    if c.flag("mamba_proj_bias") != c.flag("projectors_bias"):
        c.refuse("mamba_proj_bias", "a bias on one of the mixer's two projections")
    c.skip(
        "mamba_expand", "mamba_norm_before_gate", "lm_head_multiplier", "mlp_multipliers",
        "key_multiplier", "attention_out_multiplier", "attention_in_multiplier",
        "ssm_multipliers", "ssm_in_multiplier", "ssm_out_multiplier", "mamba_use_mlp",
    )  # fmt: skip
    attention = softmax(c, bias=c.flag("attention_bias"))
    ffn = gated(c, bias=c.flag("mlp_bias"))
    return decoder(c, Block(attention=attention, recurrent=recurrent, ffn=ffn, norms=2))
