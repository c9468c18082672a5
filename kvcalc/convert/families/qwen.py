"""Qwen 2 to 3.5: biases on Q, K and V (2), QK-norm (3), experts, gated DeltaNet hybrids (Next, 3.5).

Source: transformers 5.23, models/qwen2, qwen2_moe, qwen3, qwen3_moe, qwen3_next, qwen3_5.
"""

from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    QKV,
    Layer,
    crossed,
    decoder,
    every,
    gated,
    kinds,
    moe,
    softmax,
    step_sparse,
    windowed,
)
from kvcalc.recurrent.gated_deltanet import GatedDeltaNet
from kvcalc.spec.model import Block, ModelSpec


def _window(c: Config) -> int | None:
    """The window, which counts only where ``use_sliding_window`` turns it on."""
    window = c.maybe("sliding_window") if c.flag("use_sliding_window") else None
    c.skip("sliding_window", "max_window_layers")
    return window


def _late_window(c: Config, window: int | None) -> list[str]:
    """Layers from ``max_window_layers`` on have the window."""
    if window is None:
        return ["global"] * c.num_layers
    first = c.count("max_window_layers")
    return ["global" if index < first else "local" for index in range(c.num_layers)]


def _dense(c: Config, **attention: Any) -> ModelSpec:
    window = _window(c)
    return decoder(c, windowed(
        c, lambda w: softmax(c, sliding_window=w, **attention),
        lambda a: Block(attention=a, ffn=gated(c)), lambda: _late_window(c, window), window=window,
    ))  # fmt: skip


def qwen2(c: Config) -> ModelSpec:
    """Biases on Q, K and V."""
    c.agree("attention_bias", True)
    c.agree("head_dim", c.divide("hidden_size", c.hidden_size, c.num_heads))
    c.skip("use_mrope")
    return _dense(c, bias=QKV)


def qwen3(c: Config) -> ModelSpec:
    """QK-norm per head; biases where the config says so."""
    return _dense(c, bias=c.flag("attention_bias"), qk_norm="per_head")


def qwen2_moe(c: Config) -> ModelSpec:
    """Experts with a gated shared expert; biases on Q, K and V by ``qkv_bias``."""
    window = _window(c)
    bias = QKV if c.flag("qkv_bias") else ()

    def pattern() -> list[str]:
        first = c.count("max_window_layers") if window is not None else 0
        return [
            "local" if window is not None and index % 2 == 0 and index < first else "global"
            for index in range(c.num_layers)
        ]

    mixers = kinds(
        c, "layer_types", {"full_attention": "global", "sliding_attention": "local"}, pattern
    )
    if "local" in mixers and window is None:
        c.wrong("layer_types", "has sliding layers, and use_sliding_window is off")

    def block(mixer: str, ffn: str) -> Block:
        attention = softmax(c, bias=bias, sliding_window=window if mixer == "local" else None)
        return Block(attention=attention, ffn=_experts(c, True) if ffn == "moe" else gated(c))

    return decoder(c, crossed(mixers, step_sparse(c), block))


def _experts(c: Config, shared: bool) -> Any:
    if not shared:
        return moe(c)
    width = c.number("shared_expert_intermediate_size")
    return moe(c, shared=width, shared_expert_gate=True)


def qwen3_moe(c: Config) -> ModelSpec:
    """Experts without a shared one; the window, if on, holds for every layer."""
    c.agree("use_qk_norm", True)
    c.agree("qkv_bias", c.flag("attention_bias"))
    c.agree("shared_expert_intermediate_size", 0)
    attention = softmax(
        c, bias=c.flag("attention_bias"), qk_norm="per_head", sliding_window=_window(c)
    )

    def layer(kind: str) -> Layer:
        return (kind,), Block(attention=attention, ffn=moe(c) if kind == "moe" else gated(c))

    return decoder(c, [layer(kind) for kind in step_sparse(c)])


def qwen3_vl_moe(c: Config) -> ModelSpec:
    """Qwen 3 with experts and without a window."""
    c.fixed("sliding_window", None, what="a window")
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head")
    return decoder(c, [
        ((kind,), Block(attention=attention, ffn=moe(c) if kind == "moe" else gated(c)))
        for kind in step_sparse(c)
    ])  # fmt: skip


def deltanet(c: Config) -> GatedDeltaNet:
    """The gated DeltaNet of Qwen3-Next and 3.5."""
    return GatedDeltaNet(
        kind="gated_deltanet",
        linear_num_key_heads=c.number("linear_num_key_heads"),
        linear_num_value_heads=c.number("linear_num_value_heads"),
        linear_key_head_dim=c.number("linear_key_head_dim"),
        linear_value_head_dim=c.number("linear_value_head_dim"),
        linear_conv_kernel_dim=c.number("linear_conv_kernel_dim"),
    )


def _hybrid(c: Config, ffns: list[str]) -> ModelSpec:
    interval = c.number("full_attention_interval", 4)
    c.fixed("attn_output_gate", True, what="attention without its output gate")
    c.fixed("mamba_ssm_dtype", "float32", what="states in another number format")
    c.skip("output_gate_type", "linear_num_key_heads", "linear_num_value_heads",
           "linear_key_head_dim", "linear_value_head_dim", "linear_conv_kernel_dim")  # fmt: skip
    mixers = kinds(
        c, "layer_types", {"full_attention": "attention", "linear_attention": "deltanet"},
        lambda: every(interval, c.num_layers, "attention", "deltanet"),
    )  # fmt: skip
    attention = softmax(
        c, bias=c.flag("attention_bias"), qk_norm="per_head", output_gate="per_element"
    )

    def block(mixer: str, ffn: str) -> Block:
        feed_forward = _experts(c, True) if ffn == "moe" else gated(c)
        if mixer == "attention":
            return Block(attention=attention, ffn=feed_forward)
        return Block(recurrent=deltanet(c), ffn=feed_forward)

    return decoder(c, crossed(mixers, ffns, block))


def qwen3_next(c: Config) -> ModelSpec:
    """Three gated DeltaNet layers, then gated attention; experts with a gated shared one."""
    return _hybrid(c, step_sparse(c))


def qwen3_5(c: Config) -> ModelSpec:
    """Qwen3-Next's mixers with dense feed-forward layers."""
    return _hybrid(c, ["dense"] * c.num_layers)


def qwen3_5_moe(c: Config) -> ModelSpec:
    """Qwen3-Next's mixers, experts in every layer."""
    c.skip("intermediate_size", "decoder_sparse_step", "mlp_only_layers")
    return _hybrid(c, ["moe"] * c.num_layers)


def lara_mini(c: Config) -> ModelSpec:
    """Gated DeltaNet, windows and layers that see everything; QK-norm, experts in every layer.

    transformers 5.24, models/lara_mini; neither attention nor the shared expert has a gate.
    """
    window = c.maybe("sliding_window")
    c.skip("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim",
           "linear_value_head_dim", "linear_conv_kernel_dim", "intermediate_size",
           "decoder_sparse_step", "mlp_only_layers")  # fmt: skip
    names = {
        "full_attention": "global",
        "sliding_attention": "local",
        "linear_attention": "deltanet",
    }
    period = ["deltanet", "local", "deltanet", "global", "local"]
    mixers = kinds(
        c, "layer_types", names, lambda: [period[index % 5] for index in range(c.num_layers)]
    )
    if "local" in mixers and window is None:
        c.wrong("sliding_window", "layer_types has sliding layers, and there is no window")

    experts = moe(c, shared=c.number("shared_expert_intermediate_size"))

    def block(mixer: str, _: str) -> Block:
        if mixer == "deltanet":
            return Block(recurrent=deltanet(c), ffn=experts)
        attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head",
                            sliding_window=window if mixer == "local" else None)  # fmt: skip
        return Block(attention=attention, ffn=experts)

    return decoder(c, crossed(mixers, ["moe"] * c.num_layers, block))
