"""OLMo 1 to 3, OLMoE, FlexOlmo and OLMo-Hybrid: norms without weights, then norms after sublayers.

Source: transformers 5.23, models/olmo, olmo2, olmo3, olmoe, flex_olmo, olmo_hybrid.
"""

from kvcalc.convert.config import Config
from kvcalc.convert.parts import Layer, decoder, every, gated, kinds, moe, softmax, windowed
from kvcalc.recurrent.gated_deltanet import GatedDeltaNet
from kvcalc.spec.model import Block, ModelSpec


def olmo(c: Config) -> ModelSpec:
    """No norm has weights."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    return decoder(c, Block(attention=attention, ffn=gated(c)), norm="none")


def olmo2(c: Config) -> ModelSpec:
    """Norms after the sublayers; QK-norm over the whole width."""
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="full")
    return decoder(c, Block(attention=attention, ffn=gated(c), norm_position="post"))


def olmo3(c: Config) -> ModelSpec:
    """OLMo 2 with three sliding layers before each that sees everything."""
    bias = c.flag("attention_bias")
    return decoder(c, windowed(
        c, lambda w: softmax(c, bias=bias, qk_norm="full", sliding_window=w),
        lambda a: Block(attention=a, ffn=gated(c), norm_position="post"),
        lambda: every(4, c.num_layers), window=c.maybe("sliding_window"),
    ))  # fmt: skip


def olmoe(c: Config) -> ModelSpec:
    """Experts of intermediate_size in every layer; QK-norm over the whole width."""
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="full")
    return decoder(c, Block(attention=attention, ffn=moe(c, width="intermediate_size")))


def flex_olmo(c: Config) -> ModelSpec:
    """OLMoE with the norms after the sublayers."""
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="full")
    ffn = moe(c, width="intermediate_size")
    return decoder(c, Block(attention=attention, ffn=ffn, norm_position="post"))


def olmo_hybrid(c: Config) -> ModelSpec:
    """Three gated DeltaNet layers, then attention as in OLMo 2."""

    def pattern() -> list[str]:
        layers = every(4, c.num_layers, "attention", "deltanet")
        return layers if "attention" in layers else [*layers[:-1], "attention"]

    heads = c.maybe("linear_num_key_heads") or c.num_heads
    key_dim = c.maybe("linear_key_head_dim") or 3 * c.hidden_size // (4 * heads)
    recurrent = GatedDeltaNet(
        kind="gated_deltanet",
        linear_num_key_heads=heads,
        linear_num_value_heads=c.maybe("linear_num_value_heads") or c.num_heads,
        linear_key_head_dim=key_dim,
        linear_value_head_dim=c.maybe("linear_value_head_dim") or 2 * key_dim,
        linear_conv_kernel_dim=c.number("linear_conv_kernel_dim"),
    )
    c.skip("linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max",
           "linear_dt_init_floor", "linear_allow_neg_eigval")  # fmt: skip
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="full")
    made = {
        "attention": Block(attention=attention, ffn=gated(c), norm_position="post"),
        "deltanet": Block(recurrent=recurrent, ffn=gated(c)),
    }
    names = {"full_attention": "attention", "linear_attention": "deltanet"}
    layers: list[Layer] = [
        ((kind,), made[kind]) for kind in kinds(c, "layer_types", names, pattern)
    ]
    return decoder(c, layers)
