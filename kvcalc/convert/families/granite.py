"""IBM Granite: experts, experts with a shared layer, sinks with windows, Mamba-2 hybrids.

Source: transformers 5.23, models/granite, granitemoe, granitemoeshared, granitemoehybrid,
granite_swa, granitemoe_swa, bamba.
"""

from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.families.mamba import mamba2_fields
from kvcalc.convert.parts import decoder, gated, kinds, moe, softmax, windowed
from kvcalc.spec.model import Block, ModelSpec


def _experts(c: Config) -> Any:
    shared = 0 if c.model_type == "granitemoe" else c.count("shared_intermediate_size")
    return moe(c, experts="num_local_experts", width="intermediate_size", shared=shared)


def granitemoe(c: Config) -> ModelSpec:
    """Experts in every layer, and a shared layer where ``shared_intermediate_size`` is set."""
    return decoder(c, Block(attention=softmax(c, bias=c.flag("attention_bias")), ffn=_experts(c)))


def _swa(c: Config, ffn: Any) -> ModelSpec:
    bias = c.flag("attention_bias")
    return decoder(c, windowed(
        c, lambda w: softmax(c, bias=bias, sinks=True, sliding_window=w),
        lambda a: Block(attention=a, ffn=ffn),
        lambda: ["local" if index % 4 else "global" for index in range(c.num_layers)],
        window=c.maybe("sliding_window"),
    ))  # fmt: skip


def granite_swa(c: Config) -> ModelSpec:
    """A sink logit per head; every fourth layer from the first sees everything."""
    return _swa(c, gated(c, bias=c.flag("mlp_bias")))


def granitemoe_swa(c: Config) -> ModelSpec:
    """The same with experts."""
    return _swa(c, _experts(c))


def granitemoehybrid(c: Config) -> ModelSpec:
    """Mamba-2 and attention layers, each with experts and a shared layer; no experts: only that."""
    c.skip("position_embedding_type")
    c.agree("normalization_function", "rmsnorm")
    width = c.number("shared_intermediate_size")
    ffn: Any
    if c.count("num_local_experts"):
        ffn = _experts(c)
    else:
        c.skip("num_experts_per_tok", "intermediate_size")
        ffn = gated(c, width)
    names = {
        "full_attention": "attention", "attention": "attention", "mamba": "mamba",
        "linear_attention": "mamba",
    }  # fmt: skip
    made = {
        "attention": Block(attention=softmax(c, bias=c.flag("attention_bias")), ffn=ffn),
        "mamba": Block(recurrent=mamba2_fields(c), ffn=ffn),
    }
    layers = kinds(c, "layer_types", names, lambda: ["mamba"] * c.num_layers)
    return decoder(c, [((kind,), made[kind]) for kind in layers])


def bamba(c: Config) -> ModelSpec:
    """Mamba-2 layers, attention where ``attn_layer_indices`` says; dense feed-forward layers."""
    # Widths that the rotary embedding turns: no weights (modeling_bamba.py reads rope_parameters).
    c.skip("attn_rotary_emb")
    ffn = gated(c, bias=c.flag("mlp_bias"))
    made = {
        "attention": Block(attention=softmax(c, bias=c.flag("attention_bias")), ffn=ffn),
        "mamba": Block(recurrent=mamba2_fields(c), ffn=ffn),
    }
    attention = set(c.numbers("attn_layer_indices") or ())
    if attention and max(attention) >= c.num_layers:
        c.wrong("attn_layer_indices", f"names a layer past the {c.num_layers} of the model")
    layers = ["attention" if index in attention else "mamba" for index in range(c.num_layers)]
    return decoder(c, [((kind,), made[kind]) for kind in layers], name="mamba")
