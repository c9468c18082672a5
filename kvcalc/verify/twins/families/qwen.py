"""Qwen: optional windows on the later layers, experts with a gated shared one, gated DeltaNet."""

from kvcalc.verify.twins.stack import Stack, needs
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


def qwen4_exp(s: Stack) -> Values:
    """Pools of the indexer, gated residual streams, and the layers that look n-grams up."""
    indexers = [needs(a.indexer, "an indexer") for a in s.attentions]
    streams = needs(s.spec.hyper_connections, "hyper_connections")
    ngrams = [(at, block.ngram) for at, block in enumerate(s.blocks) if block.ngram is not None]
    values = base(s) | heads(s) | deltanet(s) | moe(s) | {
        "shared_expert_intermediate_size": s.expert("shared_expert_intermediate_size"),
        "layer_types": ["linear_attention" if block.attention is None else "indexed_attention"
                        for block in s.blocks],
        "indexer_n_heads": s.one(indexers, "index_n_heads"), "indexer_kv_heads": 1,
        "indexer_head_dim": s.one(indexers, "index_head_dim"),
        "indexer_budget": s.one(indexers, "index_topk"),
        "indexer_compress_ratio": s.one(indexers, "index_kpool"),
        "hc_count": streams.hc_mult, "hc_lowrank": streams.hc_lowrank,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        "ple_layer_ids": [at + 1 for at, _ in ngrams], "eos_token_id": 0,
    }  # fmt: skip
    values.pop("full_attention_interval")
    names = ("ple_embed_dim", "ple_conv_kernel_size", "ngram_size", "heads_per_ngram",
             "ngram_vocab_size_base", "make_ngram_vocab_size_divisible_by")  # fmt: skip
    tables = [ngram for _, ngram in ngrams]
    return values | ({name: s.one(tables, name) for name in names} if tables else {})


CAUSAL: dict[str, Writer] = {
    "qwen2": qwen2,
    "qwen2_moe": qwen2_moe,
    "qwen3": qwen3,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_next,
    "qwen3_5_moe_text": qwen3_next,
    "qwen3_moe": qwen3_moe,
    "qwen3_next": qwen3_next,
    "qwen4_exp": qwen4_exp,
}
