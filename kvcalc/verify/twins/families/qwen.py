"""Qwen: optional windows on the later layers, experts with a gated shared one, gated DeltaNet."""

from kvcalc.verify.twins.stack import Stack
from kvcalc.verify.twins.values import Values, Writer, base, dense, heads, moe


def qwen2(s: Stack) -> Values:
    window = s.window()
    values = base(s) | heads(s) | dense(s) | {"use_sliding_window": window is not None}
    if window is not None:
        full = s.num_layers - len([a for a in s.attentions if a.sliding_window is not None])
        values |= {"sliding_window": window, "max_window_layers": full}
    return values


def qwen3(s: Stack) -> Values:
    return qwen2(s) | {"attention_bias": s.bias()}


def qwen2_moe(s: Stack) -> Values:
    shared = s.expert("shared_expert_intermediate_size")
    return qwen2(s) | moe(s) | {"shared_expert_intermediate_size": shared}


def qwen3_moe(s: Stack) -> Values:
    return qwen3(s) | moe(s)


def deltanet(s: Stack) -> Values:
    names = (
        "num_key_heads",
        "num_value_heads",
        "key_head_dim",
        "value_head_dim",
        "conv_kernel_dim",
    )
    return {f"linear_{name}": s.mixer(f"linear_{name}") for name in names} | {
        "full_attention_interval": s.interval(s.where("attention")),
        "attention_bias": s.bias(),
    }


def qwen3_5(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | deltanet(s)


def qwen3_next(s: Stack) -> Values:
    shared = s.expert("shared_expert_intermediate_size")
    return qwen3_5(s) | moe(s) | {"shared_expert_intermediate_size": shared}


CAUSAL: dict[str, Writer] = {
    "qwen2": qwen2,
    "qwen2_moe": qwen2_moe,
    "qwen3": qwen3,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_next,
    "qwen3_5_moe_text": qwen3_next,
    "qwen3_moe": qwen3_moe,
    "qwen3_next": qwen3_next,
}
