"""Gemma: local and global layers, shared KV layers, per-layer embeddings; RecurrentGemma."""

from kvcalc.verify.twins.stack import Stack, needs
from kvcalc.verify.twins.values import (
    Values,
    Writer,
    base,
    dense,
    dense_model,
    full_or_sliding,
    heads,
    moe,
)


def gemma2(s: Stack) -> Values:
    return dense_model(s) | {"sliding_window": s.window()}


def gemma3n(s: Stack) -> Values:
    spec = s.spec
    altup, laurel = needs(spec.altup, "altup"), needs(spec.laurel, "laurel")
    embeddings = needs(spec.per_layer_embeddings, "per_layer_embeddings")
    values = base(s) | heads(s) | dense(s) | {
        "sliding_window": s.window(),
        "num_kv_shared_layers": sum(a.shared_kv is not None for a in s.attentions),
        "altup_num_inputs": altup.altup_num_inputs,
        "altup_active_idx": altup.altup_active_idx,
        "laurel_rank": laurel.laurel_rank,
        "hidden_size_per_layer_input": embeddings.hidden_size_per_layer_input,
        "vocab_size_per_layer_input": embeddings.vocab_size_per_layer_input,
        "activation_sparsity_pattern": [0.0] * s.num_layers,
    }  # fmt: skip
    return values | {"intermediate_size": [s.ffn()] * s.num_layers}


def gemma4(s: Stack) -> Values:
    embeddings = s.spec.per_layer_embeddings
    local = [a for a in s.attentions if a.sliding_window is not None]
    full = [a for a in s.attentions if a.sliding_window is None]
    readers = [b for b in s.blocks if getattr(b.attention, "shared_kv", None) is not None]
    k_eq_v = bool(s.one(full, "attention_k_eq_v"))
    values = base(s) | {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.one(local, "num_key_value_heads"),
        "head_dim": s.one(local, "head_dim"),
        "global_head_dim": s.one(full, "head_dim"),
        "sliding_window": s.window(),
        # The class has a period of six and no field for another; the checkpoints list their layers.
        "layer_types": full_or_sliding(s),
        "attention_k_eq_v": k_eq_v,
        "num_global_key_value_heads": s.one(full, "num_key_value_heads") if k_eq_v else None,
        "num_kv_shared_layers": len(readers),
        "hidden_size_per_layer_input": embeddings.hidden_size_per_layer_input if embeddings else 0,
    }  # fmt: skip
    if embeddings:
        values["vocab_size_per_layer_input"] = embeddings.vocab_size_per_layer_input
    if s.experts:
        values |= moe(s, chosen="top_k_experts")
        values |= {"enable_moe_block": True,
                   "intermediate_size": s.expert("shared_expert_intermediate_size")}  # fmt: skip
    else:
        widths = sorted({ffn.intermediate_size for ffn in s.ffns})
        values |= {"intermediate_size": widths[0], "use_double_wide_mlp": len(widths) > 1}
    return values


def recurrent_gemma(s: Stack) -> Values:
    return base(s) | {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.attention("num_key_value_heads"),
        "intermediate_size": 2 * s.ffn(),
        "attention_window_size": s.window(),
        "lru_width": s.mixer("lru_width"),
        "conv1d_width": s.mixer("conv1d_width"),
        "attention_bias": s.bias(),
    }


CAUSAL: dict[str, Writer] = {
    "gemma": dense_model,
    "gemma2": gemma2,
    "gemma3_text": gemma2,
    "gemma3n_text": gemma3n,
    "gemma4": gemma4,
    "gemma4_unified": gemma4,
    "recurrent_gemma": recurrent_gemma,
}
