"""Llama and its line: dense models that differ in biases, windows and norms."""

from kvcalc.verify.twins.stack import Stack
from kvcalc.verify.twins.values import (
    Values,
    Writer,
    base,
    dense,
    dense_model,
    full_or_sliding,
    heads,
    windowed,
)


def llama(s: Stack) -> Values:
    values = base(s) | heads(s) | dense(s)
    return values | {"attention_bias": s.bias(), "mlp_bias": bool(s.ffn("bias"))}


def internlm3(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | {"qkv_bias": s.bias(), "bias": bool(s.ffn("bias"))}


def seed_oss(s: Stack) -> Values:
    return llama(s) | {"attention_out_bias": s.bias("o")}


def smollm3(s: Stack) -> Values:
    return llama(s) | {"use_sliding_window": s.window() is not None, "sliding_window": s.window()}


def ernie(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | {"use_bias": s.bias()}


def phi3(s: Stack) -> Values:
    return windowed(s) | {"pad_token_id": 0}


def phi(s: Stack) -> Values:
    qk = s.attention("qk_norm") != "none"
    return base(s) | heads(s, head_dim=False) | dense(s) | {"qk_layernorm": qk}


def stablelm(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {
        "use_qkv_bias": s.bias(),
        "qk_layernorm": s.attention("qk_norm") != "none",
        "use_parallel_residual": {block.num_norms for block in s.blocks} == {1},
    }  # fmt: skip


def starcoder2(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s)
    return values | {"use_bias": s.bias(), "sliding_window": s.window()}


def cohere(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s)
    return values | {
        "use_qk_norm": s.attention("qk_norm") != "none", "attention_bias": s.bias()
    }  # fmt: skip


def cohere2(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s)
    return values | {"sliding_window": s.window(), "attention_bias": s.bias()}


def olmo(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {"attention_bias": s.bias()}


def olmo3(s: Stack) -> Values:
    return olmo(s) | {"sliding_window": s.window()}


def exaone4(s: Stack) -> Values:
    window = s.window()
    values = base(s) | heads(s, head_dim=False) | dense(s) | {"sliding_window": window}
    if window is None:
        # Without a window the class divides by a pattern of zero.
        return values | {"layer_types": ["full_attention"] * s.num_layers}
    return values | {"sliding_window_pattern": 4}


def granite(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {
        "attention_bias": s.bias(), "mlp_bias": bool(s.ffn("bias"))
    }  # fmt: skip


def granite_swa(s: Stack) -> Values:
    return granite(s) | {"head_dim": s.attention("head_dim"), "sliding_window": s.window(),
                         "layer_types": full_or_sliding(s)}  # fmt: skip


def hyperclovax(s: Stack) -> Values:
    return llama(s) | {"use_post_norm": {block.num_norms for block in s.blocks} == {4}}


CAUSAL: dict[str, Writer] = {
    "llama": llama,
    "apertus": dense_model,
    "bitnet": dense_model,
    "cohere": cohere,
    "cohere2": cohere2,
    "ernie4_5": ernie,
    "exaone4": exaone4,
    "glm": dense_model,
    "glm4": dense_model,
    "granite": granite,
    "granite_swa": granite_swa,
    "hunyuan_v1_dense": dense_model,
    "hyperclovax": hyperclovax,
    "iquestcoder": llama,
    "jais2": llama,
    "internlm3": internlm3,
    "ministral3": windowed,
    "mistral": windowed,
    "nemotron": llama,
    "olmo": olmo,
    "olmo2": olmo,
    "olmo3": olmo3,
    "phi": phi,
    "phi3": phi3,
    "seed_oss": seed_oss,
    "smollm3": smollm3,
    "stablelm": stablelm,
    "starcoder2": starcoder2,
}
