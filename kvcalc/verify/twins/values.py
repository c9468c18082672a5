"""Config values that several families write alike."""

from collections.abc import Callable
from typing import Any

from kvcalc.spec.model import ModelSpec
from kvcalc.verify.twins.stack import Stack

Values = dict[str, Any]
Writer = Callable[[Stack], Values]


def base(s: Stack, **names: str) -> Values:
    """Width, vocabulary, layers, context and tying. names: what the config calls them."""
    spec = s.spec
    values: Values = {
        "hidden_size": spec.hidden_size,
        "vocab_size": spec.vocab_size,
        "num_hidden_layers": s.num_layers,
    }
    if spec.tie_word_embeddings is not None:
        values["tie_word_embeddings"] = spec.tie_word_embeddings
    if spec.max_position_embeddings is not None:
        values["max_position_embeddings"] = spec.max_position_embeddings
    return {names.get(key, key): value for key, value in values.items()}


def heads(s: Stack, *, head_dim: bool = True) -> Values:
    """Query heads, KV heads and their width. Layers with a recurrent mixer only are not asked."""
    values = {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.attention("num_key_value_heads"),
    }
    return values | ({"head_dim": s.attention("head_dim")} if head_dim else {})


def dense(s: Stack) -> Values:
    return {"intermediate_size": s.ffn()} if s.ffns else {}


def moe(
    s: Stack, experts: str = "num_experts", chosen: str = "num_experts_per_tok",
    width: str = "moe_intermediate_size",
) -> Values:  # fmt: skip
    return {
        experts: s.expert("num_experts"),
        chosen: s.expert("num_experts_per_tok"),
        width: s.expert("moe_intermediate_size"),
    }


def local_experts(s: Stack) -> Values:
    """Routed experts by Mixtral's names."""
    return moe(s, experts="num_local_experts", width="intermediate_size")


def shared_count(s: Stack) -> int:
    """How many shared experts of the routed ones' width the shared part amounts to."""
    shared, width = s.expert("shared_expert_intermediate_size"), s.expert("moe_intermediate_size")
    return shared // width if shared else 0


def full_or_sliding(s: Stack, sliding: str = "sliding_attention") -> list[str]:
    field = "attention_chunk_size" if sliding.startswith("chunk") else "sliding_window"
    return [
        "full_attention" if getattr(block.attention, field) is None else sliding
        for block in s.blocks
    ]


def windowed(s: Stack) -> Values:
    """A dense decoder; None for a window that it has not."""
    return base(s) | heads(s) | dense(s) | {"sliding_window": s.window()}


def dense_model(s: Stack) -> Values:
    """A dense decoder whose config says whether its projections have biases."""
    return base(s) | heads(s) | dense(s) | {"attention_bias": s.bias()}


def deepseek_experts(s: Stack) -> Values:
    """Routed experts from some layer on: how many dense layers there are, not which."""
    values = moe(s, experts="n_routed_experts") | {"n_shared_experts": shared_count(s)}
    return values | {"first_k_dense_replace": len(s.ffns), "n_group": 1, "topk_group": 1}


def mamba2_fields(s: Stack, prefix: str = "mamba_") -> Values:
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    return {
        f"{prefix}n_heads": s.mixer("num_heads"),
        f"{prefix}d_head": s.mixer("head_dim"),
        f"{prefix}d_state": s.mixer("state_size"),
        f"{prefix}n_groups": s.mixer("n_groups"),
        f"{prefix}d_conv": s.mixer("conv_kernel"),
        f"{prefix}expand": inner // s.spec.hidden_size,
        f"{prefix}conv_bias": s.mixer("conv_bias"),
        f"{prefix}proj_bias": s.mixer("proj_bias"),
    }


def positions(spec: ModelSpec) -> int | None:
    """Rows of the position table; the longest context where there is none."""
    table = spec.embedding.positions if spec.embedding else None
    return table if table is not None else spec.max_position_embeddings
