"""MLA, its indexers, and DeepSeek V4."""

from kvcalc.errors import UnsupportedError
from kvcalc.verify.twins.stack import Stack, needs
from kvcalc.verify.twins.values import (
    Values,
    Writer,
    base,
    deepseek_experts,
    dense,
    moe,
    shared_count,
)


def mla(s: Stack) -> Values:
    names = ("num_attention_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim",
             "qk_rope_head_dim", "v_head_dim")  # fmt: skip
    return {name: s.attention(name) for name in names} | {
        "num_key_value_heads": s.attention("num_attention_heads"),
        "attention_bias": s.bias("kv_a"),
    }


def deepseek(s: Stack) -> Values:
    return base(s) | dense(s) | mla(s) | deepseek_experts(s)


def indexed(s: Stack) -> Values:
    """The indexer of DSA; layers without one reuse another's selection."""
    indexers = [a.indexer for a in s.attentions if a.indexer is not None]
    names = ("index_n_heads", "index_head_dim", "index_topk")
    values = deepseek(s) | {name: s.one(indexers, name) for name in names}
    if len(indexers) < s.num_layers:
        values["indexer_types"] = [
            "full" if a.indexer is not None else "shared" for a in s.attentions
        ]
    return values


def minicpm3(s: Stack) -> Values:
    return base(s) | dense(s) | mla(s)


def longcat(s: Stack) -> Values:
    spec = s.spec
    return {
        key: value for key, value in (base(s) | mla(s)).items() if key != "num_hidden_layers"
    } | {
        "num_layers": s.num_layers // 2,
        "ffn_hidden_size": s.ffn(),
        "n_routed_experts": s.expert("num_experts"),
        "zero_expert_num": s.expert("num_zero_experts"),
        "moe_topk": s.expert("num_experts_per_tok"),
        "expert_ffn_hidden_size": s.expert("moe_intermediate_size"),
        "tie_word_embeddings": spec.tie_word_embeddings,
    }


def kimi_linear(s: Stack) -> Values:
    full = [index + 1 for index in s.where("attention")]
    values = deepseek(s)
    for name in ("n_group", "topk_group", "n_routed_experts"):
        values.pop(name)
    return values | {
        "num_local_experts": s.expert("num_experts"),
        "linear_attn_config": {
            "full_attn_layers": full,
            "kda_layers": [index + 1 for index in s.where("recurrent")],
            "num_heads": s.mixer("num_heads"), "head_dim": s.mixer("head_dim"),
            "short_conv_kernel_size": s.mixer("short_conv_kernel_size"),
        },
    }  # fmt: skip


def glm5_next(s: Stack) -> Values:
    """KDA, and latent attention whose indexer scores pools, in the order of the spec's layers."""
    indexers = [a.indexer for a in s.attentions if a.indexer is not None]
    names = ("index_n_heads", "index_head_dim", "index_topk", "index_kpool")
    values = deepseek(s) | {name: s.one(indexers, name) for name in names}
    values.pop("first_k_dense_replace")
    mla, moe = s.where("attention"), s.where("ffn", kind="moe")
    return values | {
        "layer_types": ["indexed_attention" if index in mla else "linear_attention"
                        for index in range(s.num_layers)],
        "mlp_layer_types": ["sparse" if index in moe else "dense" for index in range(s.num_layers)],
        "indexer_types": ["shared" if a is not None and a.indexer is None else "full"
                          for a in (getattr(block, "attention", None) for block in s.blocks)],
        "linear_num_heads": s.mixer("num_heads"), "linear_head_dim": s.mixer("head_dim"),
        "linear_conv_kernel_dim": s.mixer("short_conv_kernel_size"),
        "hc_mult": needs(s.spec.hyper_connections, "hyper_connections").hc_mult,
    }  # fmt: skip


def bailing_hybrid(s: Stack) -> Values:
    """The last layer of each group has latent attention, the others KDA."""
    if s.attention("q_lora_rank") is not None:
        raise UnsupportedError(
            f"{s.spec.name}: transformers' class has no q_lora_rank, which its files have"
        )
    values = deepseek(s)
    values["num_local_experts"] = values.pop("n_routed_experts")
    return values | {
        "head_dim": s.mixer("head_dim"), "short_conv_kernel_size": s.mixer("short_conv_kernel_size"),
        "layer_group_size": s.where("attention")[0] + 1,
        "layer_types": ["full_attention" if index in s.where("attention") else "linear_attention"
                        for index in range(s.num_layers)],
    }  # fmt: skip


def deepseek_v4(s: Stack) -> Values:
    kinds = {"csa": "compressed_sparse_attention", "hca": "heavily_compressed_attention",
             "v4_window": "sliding_attention"}  # fmt: skip
    rates = {kinds[a.kind]: a.compress_rate for a in s.attentions if a.kind != "v4_window"}
    sparse = [a for a in s.attentions if a.kind == "csa"]
    connections = needs(s.spec.hyper_connections, "hyper_connections")
    names = ("num_attention_heads", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank")
    values = base(s) | moe(s, experts="n_routed_experts") | {
        name: s.attention(name) for name in names
    }  # fmt: skip
    return values | {name: s.one(sparse, name) for name in
                     ("index_n_heads", "index_head_dim", "index_topk")} | {
        "num_key_value_heads": 1, "sliding_window": s.window(),
        "n_shared_experts": shared_count(s), "hc_mult": connections.hc_mult,
        "layer_types": [kinds[a.kind] for a in s.attentions],
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
        | rates,
        "mlp_layer_types": ["hash_moe" if e.hash_vocab_size else "moe" for e in s.experts],
    }  # fmt: skip


CAUSAL: dict[str, Writer] = {
    "deepseek_v2": deepseek,
    "deepseek_v3": deepseek,
    "deepseek_v32": indexed,
    "deepseek_v4": deepseek_v4,
    "glm4_moe_lite": deepseek,
    "glm5_next": glm5_next,
    "glm_moe_dsa": indexed,
    "kimi_k2": deepseek,
    "kimi_k25": deepseek,
    "kimi_linear": kimi_linear,
    "bailing_hybrid": bailing_hybrid,
    "longcat_flash": longcat,
    "minicpm3": minicpm3,
    "youtu": minicpm3,
    "mistral4": deepseek,
}
