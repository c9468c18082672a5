"""Softmax attention with routed experts."""

from kvcalc.verify.twins.stack import Stack
from kvcalc.verify.twins.values import (
    Values,
    Writer,
    base,
    deepseek_experts,
    dense,
    dense_model,
    full_or_sliding,
    heads,
    local_experts,
    moe,
    shared_count,
)


def olmoe(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | moe(s, width="intermediate_size")
    return values | {"attention_bias": s.bias()}


def granitemoe(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | {"attention_bias": s.bias()}
    return values | local_experts(s)


def glm4_moe(s: Stack) -> Values:
    return dense_model(s) | deepseek_experts(s) | {
        "use_qk_norm": s.attention("qk_norm") != "none"
    }  # fmt: skip


def mixtral(s: Stack) -> Values:
    values = base(s) | heads(s) | {"sliding_window": s.window()}
    return values | local_experts(s)


def minimax_m2(s: Stack) -> Values:
    return base(s) | heads(s) | local_experts(s)


def minimax_m3(s: Stack) -> Values:
    indexers = [a.indexer for a in s.attentions if a.indexer is not None]
    dense_layers = len(s.ffns)
    sparse = [int(index >= s.num_layers - len(indexers)) for index in range(s.num_layers)]
    return base(s) | heads(s) | local_experts(s) | {
        "dense_intermediate_size": s.ffn(),
        "shared_intermediate_size": s.expert("shared_expert_intermediate_size"),
        "index_n_heads": s.one(indexers, "index_n_heads"),
        "index_head_dim": s.one(indexers, "index_head_dim"),
        "sparse_attention_config": {"sparse_attention_freq": sparse},
        "moe_layer_freq": [int(index >= dense_layers) for index in range(s.num_layers)],
    }  # fmt: skip


def phimoe(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | {"attention_bias": s.bias(),
              "lm_head_bias": s.spec.head_bias, "sliding_window": s.window()}  # fmt: skip
    return values | local_experts(s)


def gpt_oss(s: Stack) -> Values:
    values = base(s) | heads(s) | {"sliding_window": s.window(), "attention_bias": s.bias()}
    return values | local_experts(s)


def llama4(s: Stack) -> Values:
    values = base(s) | heads(s) | {"attention_chunk_size": s.window("attention_chunk_size")}
    values |= local_experts(s)
    values["interleave_moe_layer_step"] = s.interval(s.where("ffn", kind="moe"))
    norms = {attention.qk_norm for attention in s.attentions}
    values["use_qk_norm"] = "l2" in norms
    return values | ({"intermediate_size_mlp": s.ffn()} if s.ffns else {})


def ernie_moe(s: Stack) -> Values:
    values = base(s) | heads(s) | dense(s) | {"use_bias": s.bias()}
    values |= moe(s, experts="moe_num_experts", chosen="moe_k")
    return values | {"moe_num_shared_experts": shared_count(s), "moe_layer_interval": 1,
                     "moe_layer_start_index": len(s.ffns)}  # fmt: skip


def hunyuan_moe(s: Stack) -> Values:
    values = base(s) | heads(s) | {"attention_bias": s.bias()}
    return values | moe(s, chosen="moe_topk", width="intermediate_size")


def dbrx(s: Stack) -> Values:
    spec = s.spec
    return {
        "d_model": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layers": s.num_layers,
        "n_heads": s.attention("num_attention_heads"), "max_seq_len": spec.max_position_embeddings,
        "tie_word_embeddings": spec.tie_word_embeddings,
        "attn_config": {"kv_n_heads": s.attention("num_key_value_heads"), "rope_theta": 500000,
                        "clip_qkv": 8},
        "ffn_config": moe(s, "moe_num_experts", "moe_top_k", "ffn_hidden_size"),
    }  # fmt: skip


def dots1(s: Stack) -> Values:
    return dense_model(s) | deepseek_experts(s)


def mimo(s: Stack) -> Values:
    full = [a for a in s.attentions if a.sliding_window is None]
    return base(s) | dense(s) | moe(s, experts="n_routed_experts") | {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.one(full, "num_key_value_heads"),
        "head_dim": s.attention("head_dim"), "v_head_dim": s.attention("value_dim"),
        "sliding_window": s.window(), "attention_bias": s.bias(),
    }  # fmt: skip


def solar_open(s: Stack) -> Values:
    return dense_model(s) | deepseek_experts(s)


def mellum(s: Stack) -> Values:
    return dense_model(s) | moe(s) | {
        "sliding_window": s.window(), "layer_types": full_or_sliding(s),
        "mlp_layer_types": ["sparse" if b.ffn in s.experts else "dense" for b in s.blocks],
    }  # fmt: skip


def kolibri1(s: Stack) -> Values:
    return base(s) | heads(s) | moe(s, experts="num_local_experts") | {
        "sliding_window": s.window(), "layer_types": full_or_sliding(s),
        "shared_expert_intermediate_size": s.expert("shared_expert_intermediate_size"),
    }  # fmt: skip


CAUSAL: dict[str, Writer] = {
    "dbrx": dbrx,
    "dots1": dots1,
    "flex_olmo": olmoe,
    "ernie4_5_moe": ernie_moe,
    "glm4_moe": glm4_moe,
    "gpt_oss": gpt_oss,
    "granitemoe": granitemoe,
    "hunyuan_v1_moe": hunyuan_moe,
    "kolibri1": kolibri1,
    "llama4": llama4,
    "mellum": mellum,
    "mimo_v2_flash": mimo,
    "minimax_m2": minimax_m2,
    "minimax_m3_vl": minimax_m3,
    "mixtral": mixtral,
    "olmoe": olmoe,
    "solar_open": solar_open,
    "phimoe": phimoe,
}
