"""Random configs: small dimensions drawn for every key of a model_type's class that may matter.

A draw is what a config.json could hold. The same object goes to kvcalc and to transformers, so the
two are compared for any dimensions, not for the published ones.
"""

import random
from typing import Any

Draw = dict[str, Any]


def _heads(rng: random.Random) -> tuple[int, int]:
    """Query heads and KV heads that divide them."""
    return rng.choice([(2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (6, 2), (6, 3), (8, 2), (8, 4)])


class Dimensions:
    """The sizes that fields of one draw have to agree on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.heads, self.kv_heads = _heads(rng)
        self.head_dim = rng.choice([8, 16, 24])
        self.hidden = self.heads * rng.choice([8, 16, 24])
        self.layers = rng.randint(3, 7)
        self.experts = rng.choice([4, 8, 6])

    def even(self, low: int, high: int) -> int:
        return 2 * self.rng.randint(low // 2, high // 2)

    def flag(self) -> bool:
        return self.rng.random() < 0.5

    def maybe(self, value: Any) -> Any:
        return value if self.flag() else None

    def kinds(self, *words: str) -> list[str]:
        """A kind for every layer, each word at least once."""
        found = [*words, *(self.rng.choice(words) for _ in range(self.layers - len(words)))]
        self.rng.shuffle(found)
        return found[: self.layers]


def _field(name: str, d: Dimensions) -> Any:
    """A value for a field that many classes have; None for one that stays as it is."""
    rng = d.rng
    if name in ("hidden_size", "n_embd", "d_model", "dim"):
        return d.hidden
    if name in ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"):
        return d.heads
    if name == "num_key_value_heads":
        return d.kv_heads
    if name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        return d.layers
    if name == "head_dim":
        return d.head_dim
    if name == "vocab_size":
        return rng.randint(60, 90)
    if name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
        return rng.randint(40, 60)
    if name in ("intermediate_size", "moe_intermediate_size", "n_inner", "ffn_dim", "d_ff",
                "shared_expert_intermediate_size", "hidden_dim", "ffn_hidden_size",
                "intermediate_size_mlp", "shared_intermediate_size", "encoder_ffn_dim",
                "decoder_ffn_dim", "moe_shared_expert_intermediate_size"):  # fmt: skip
        return d.even(16, 48)
    if name in ("attention_bias", "mlp_bias", "use_bias", "attention_out_bias", "qkv_bias", "bias",
                "use_qkv_bias", "lm_head_bias", "tie_word_embeddings", "use_qk_norm",
                "qk_layernorm", "use_sliding_window", "mamba_proj_bias", "use_conv_bias",
                "mamba_conv_bias", "conv_bias", "use_post_norm"):  # fmt: skip
        return d.flag()
    if name in ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"):
        return d.experts
    if name in ("num_experts_per_tok", "moe_k", "moe_topk"):
        return rng.randint(1, 3)
    if name in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"):
        return rng.randint(1, 2)
    if name == "sliding_window":
        return rng.randint(4, 9)
    if name == "max_window_layers":
        return rng.randint(0, d.layers)
    if name in ("encoder_layers", "decoder_layers", "num_decoder_layers"):
        return rng.randint(2, 4)
    if name in ("encoder_attention_heads", "decoder_attention_heads"):
        return d.heads
    if name == "type_vocab_size":
        return rng.randint(1, 3)
    if name == "embedding_size":
        return rng.choice([d.hidden, 24])
    if name == "first_k_dense_replace":
        return rng.randint(0, d.layers)
    if name == "q_lora_rank":
        return rng.choice([d.even(8, 24), NULL, None])
    if name in ("kv_lora_rank", "v_head_dim"):
        return d.even(8, 24)
    if name in ("qk_nope_head_dim", "qk_rope_head_dim"):
        return rng.choice([8, 16])
    if name == "index_head_dim":
        return 32
    if name in ("index_n_heads", "index_topk"):
        return rng.randint(2, 5)
    if name in ("linear_num_key_heads",):
        return 2
    if name in ("linear_num_value_heads",):
        return rng.choice([2, 4])
    if name in ("linear_key_head_dim", "linear_value_head_dim"):
        return rng.choice([8, 16])
    if name in ("linear_conv_kernel_dim", "conv_L_cache", "conv_kernel", "mamba_d_conv"):
        return rng.randint(3, 5)
    if name == "decoder_sparse_step":
        return rng.randint(1, 2)
    if name == "mlp_only_layers":
        return d.maybe([rng.randrange(d.layers)])
    return None


def draw(model_type: str, seed: int, fields: dict[str, Any]) -> Draw:
    """One config of a model_type. fields: what its class has, with defaults."""
    d = Dimensions(random.Random(f"{model_type} {seed}"))
    config: Draw = {"model_type": model_type, "pad_token_id": 0}
    for name in fields:
        value = _field(name, d)
        if value is not None:
            config[name] = value
    if "kv_lora_rank" in config:
        # Latent attention expands to all heads; head_dim is then the rotary key's.
        config["num_key_value_heads"] = config["num_attention_heads"]
        if "head_dim" in config:
            config["head_dim"] = config["qk_rope_head_dim"]
    config.update(OVERRIDES.get(model_type, _nothing)(d))
    found = {key: value for key, value in config.items() if value is not DROP}
    return {key: None if value is NULL else value for key, value in found.items()}


# A key that the draw leaves out, and one that it holds with null.
DROP: Any = object()
NULL: Any = object()


def _nothing(d: Dimensions) -> Draw:
    return {}


def _sliding(d: Dimensions) -> Draw:
    """Half of the draws say which layers slide, half leave it to the class."""
    return {"layer_types": d.maybe(d.kinds("full_attention", "sliding_attention"))}


def _per_tok(d: Dimensions) -> Draw:
    return {"num_experts_per_tok": d.rng.randint(1, 3)}


def _square(d: Dimensions) -> Draw:
    return {"head_dim": d.hidden // d.heads}


def _mlp_types(d: Dimensions) -> Draw:
    return {"mlp_layer_types": d.maybe(d.kinds("dense", "sparse"))}


def _both(*parts: Any) -> Any:
    def joined(d: Dimensions) -> Draw:
        found: Draw = {}
        for part in parts:
            found.update(part(d) if callable(part) else part)
        return found

    return joined


def _pairs(d: Dimensions) -> Draw:
    heads, kv = d.rng.choice([(4, 2), (4, 4), (8, 4)])
    return {"num_attention_heads": heads, "num_key_value_heads": kv, "hidden_size": heads * 16}


def _internlm3(d: Dimensions) -> Draw:
    bias = d.flag()
    return {"attention_bias": bias, "mlp_bias": bias}


def _gemma3n(d: Dimensions) -> Draw:
    layers = d.rng.randint(6, 9)
    shared = d.rng.randint(0, layers - 5)
    return {
        "num_hidden_layers": layers, "layer_types": None, "num_kv_shared_layers": shared,
        "intermediate_size": d.maybe([16 + 2 * i for i in range(layers)]) or 24,
        "vocab_size_per_layer_input": 95, "hidden_size_per_layer_input": 8,
        "altup_num_inputs": d.rng.randint(2, 4), "laurel_rank": d.rng.randint(3, 6),
    }  # fmt: skip


def _gemma4(d: Dimensions) -> Draw:
    layers = d.rng.randint(7, 9)
    moe = d.flag()
    return {
        "num_hidden_layers": layers, "layer_types": None,
        "num_kv_shared_layers": d.rng.randint(0, layers - 6),
        "vocab_size_per_layer_input": 95, "hidden_size_per_layer_input": d.rng.choice([0, 8]),
        "global_head_dim": 32, "attention_k_eq_v": d.flag(), "use_double_wide_mlp": d.flag(),
        "num_global_key_value_heads": d.maybe(1), "enable_moe_block": moe,
        "num_experts": 4 if moe else None, "top_k_experts": 2 if moe else None,
        "moe_intermediate_size": 12 if moe else None,
    }  # fmt: skip


def _mamba2_heads(names: tuple[str, str, str, str, str], d: Dimensions) -> Draw:
    heads, dim, groups, state, expand = names
    hidden = d.rng.choice([32, 64])
    return {
        "hidden_size": hidden, "num_attention_heads": 4, "num_key_value_heads": d.rng.choice([1, 2, 4]),
        heads: 8, dim: hidden * 2 // 8, groups: d.rng.choice([1, 2, 4]), state: d.rng.choice([8, 16]),
        expand: 2,
    }  # fmt: skip


_BAMBA = ("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_expand")


def _bamba(d: Dimensions) -> Draw:
    return _mamba2_heads(_BAMBA, d)


def _gemma4_unified(d: Dimensions) -> Draw:
    layers = d.rng.randint(7, 9)
    return {
        "num_hidden_layers": layers, "layer_types": None,
        "num_kv_shared_layers": d.rng.randint(0, layers - 6), "global_head_dim": 32,
        "attention_k_eq_v": d.flag(), "use_double_wide_mlp": d.flag(),
        "num_global_key_value_heads": d.maybe(1),
    }  # fmt: skip


def _t5gemma(d: Dimensions) -> Draw:
    def side(hidden: int) -> Draw:
        return {
            "hidden_size": hidden, "intermediate_size": d.even(16, 48), "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": d.rng.choice([1, 2, 4]),
            "head_dim": 8, "sliding_window": 7, "vocab_size": 70, "pad_token_id": 0,
            "max_position_embeddings": 50, "attention_bias": d.flag(),
        }  # fmt: skip

    return {"encoder": side(32), "decoder": side(d.rng.choice([32, 48])), "vocab_size": 70}


def _nemotron_h(d: Dimensions) -> Draw:
    words = ("linear_attention", "full_attention", "mlp", "moe")
    order = [*words, *(d.rng.choice(words) for _ in range(4))]
    d.rng.shuffle(order)
    how: Draw = {"layers_block_type": order, "hybrid_override_pattern": DROP}
    if d.flag():
        letters = dict(zip(words, "M*-E", strict=True))
        how = {"hybrid_override_pattern": "".join(letters[word] for word in order)}
    return {
        "num_hidden_layers": len(order), "mamba_num_heads": 8, "mamba_head_dim": d.rng.choice([4, 8]),
        "ssm_state_size": 8, "n_groups": d.rng.choice([1, 2, 4]), "conv_kernel": 4,
        "moe_latent_size": d.maybe(12), "attention_bias": False, "mlp_bias": False,
        "sliding_window": DROP, "tie_word_embeddings": False, **how,
    }  # fmt: skip


def _zamba2(d: Dimensions) -> Draw:
    order = [
        "linear_attention",
        *d.kinds("linear_attention", "hybrid"),
        "hybrid",
        "linear_attention",
    ]
    return {
        "num_hidden_layers": len(order), "layers_block_type": order, "n_mamba_heads": 4,
        "mamba_d_state": 8, "mamba_ngroups": d.rng.choice([1, 2]), "mamba_expand": 2,
        "adapter_rank": d.rng.randint(2, 6), "num_mem_blocks": d.rng.choice([1, 2]),
        "use_shared_attention_adapter": d.flag(), "use_conv_bias": True, "add_bias_linear": d.flag(),
        "num_key_value_heads": d.heads, "tie_word_embeddings": True,
    }  # fmt: skip


OVERRIDES: dict[str, Any] = {
    "diffllama": _pairs,
    "helium": _square,
    "internlm3": _internlm3,
    "ministral": lambda d: {"layer_types": d.kinds("full_attention", "sliding_attention")},
    "cwm": _sliding,
    "olmo3": _sliding,
    "gpt_oss": _sliding,
    "gemma2": _sliding,
    "gemma3_text": _sliding,
    "vaultgemma": _sliding,
    "granite_swa": _sliding,
    "kolibri1": _sliding,
    "granitemoe_swa": _sliding,
    "exaone4": _sliding,
    "cohere2": _sliding,
    "gemma3n_text": _gemma3n,
    "gemma4_text": _gemma4,
    "deepseek_v2": _both(_per_tok, {"n_group": 1, "topk_group": 1, "mlp_bias": False}),
    "deepseek_v32": _both(
        _mlp_types,
        {
            "mlp_bias": False,
            "q_lora_rank": 16,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    "glm_moe_dsa": _both(
        _mlp_types,
        lambda d: {
            "mlp_bias": False,
            "q_lora_rank": 16,
            "indexer_types": d.maybe(["full", *d.kinds("full", "shared")][: d.layers]),
        },
    ),
    "glm4_moe_lite": _mlp_types,
    "axk1": _both(_mlp_types, {"q_lora_rank": 16, "n_group": 1, "topk_group": 1}),
    "hy_v3": _mlp_types,
    "exaone_moe": _both(_mlp_types, _sliding),
    "mellum": _both(_mlp_types, _sliding),
    "mimo_v2_flash": _both(
        _mlp_types,
        _sliding,
        lambda d: {
            "num_attention_heads": 8,
            "num_key_value_heads": d.rng.choice([1, 2, 4]),
            "hidden_size": 64,
        },
    ),
    "laguna": _both(
        _mlp_types,
        _sliding,
        lambda d: {"gating": d.rng.choice([True, "per-head", "per-element", False])},
    ),
    "flint": _sliding,
    "afmoe": _sliding,
    "cohere2_moe": _both(_sliding, _mlp_types),
    "dots1": _both(_per_tok, _sliding, lambda d: {"n_routed_experts": 4, "n_shared_experts": 1}),
    "granitemoehybrid": _both(
        _bamba,
        lambda d: {
            "layer_types": d.kinds("full_attention", "linear_attention"),
            "num_local_experts": d.rng.choice([0, 4]),
        },
    ),
    "bamba": _both(_bamba, lambda d: {"attn_layer_indices": [1]}),
    "falcon_h1": _both(
        _bamba,
        lambda d: {
            "mamba_proj_bias": False,
            "mamba_d_ssm": d.maybe(48),
            "mamba_d_head": "auto",
            "mamba_rms_norm": d.flag(),
        },
    ),
    "mamba2": lambda d: {
        "num_heads": 8,
        "head_dim": 8,
        "hidden_size": 32,
        "expand": 2,
        "n_groups": d.rng.choice([1, 2]),
        "state_size": 8,
    },
    "mamba": lambda d: {"state_size": d.rng.randint(4, 9), "expand": d.rng.choice([1, 2])},
    "falcon_mamba": lambda d: {"state_size": d.rng.randint(4, 9)},
    "xlstm": lambda d: {
        "hidden_size": 128,
        "num_heads": 4,
        "num_blocks": DROP,
        "use_bias": False,
        "tie_word_embeddings": False,
    },
    "recurrent_gemma": lambda d: {
        "hidden_size": d.heads * 16,
        "lru_width": d.maybe(d.heads * 8),
        "attention_window_size": 6,
        "conv1d_width": d.rng.randint(3, 5),
    },
    "rwkv": lambda d: {"attention_hidden_size": d.maybe(24)},
    "dbrx": lambda d: {
        "attn_config": {"kv_n_heads": d.kv_heads, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"moe_num_experts": 4, "moe_top_k": 2, "ffn_hidden_size": 24},
        "tie_word_embeddings": False,
    },
    "falcon": lambda d: {
        "multi_query": d.flag(),
        **d.rng.choice(
            [
                {
                    "new_decoder_architecture": True,
                    "parallel_attn": True,
                    "num_ln_in_parallel_attn": d.rng.choice([None, 1, 2]),
                },
                {"new_decoder_architecture": False, "parallel_attn": True},
                {"new_decoder_architecture": False, "parallel_attn": False},
            ]
        ),
        "num_kv_heads": d.rng.choice([DROP, d.heads]),
    },
    "mistral4": lambda d: {"tie_word_embeddings": True},
    "minimax_m2": lambda d: {"num_local_experts": d.experts},
    "olmo_hybrid": lambda d: {
        "layer_types": None,
        "num_attention_heads": 4,
        "hidden_size": 64,
        "num_key_value_heads": d.rng.choice([1, 2, 4]),
        "linear_num_key_heads": d.maybe(4),
        "linear_num_value_heads": 4,
    },
    "step3p5": lambda d: {
        **_sliding(d),
        **_mlp_types(d),
        "num_local_experts": DROP,
        "tie_word_embeddings": True,
        "num_sliding_attention_heads": d.maybe(2 * d.heads),
        "share_expert_dim": 14,
    },
    "jetmoe": lambda d: {"kv_channels": d.head_dim, "num_attention_heads": DROP},
    "minimax_m3_vl_text": lambda d: {
        "layer_types": d.maybe(d.kinds("full_attention", "minimax_m3_sparse")),
        "mlp_layer_types": d.maybe(d.kinds("dense", "sparse")),
        "dense_intermediate_size": 28,
        "index_topk_blocks": 2,
        "index_block_size": 4,
        "index_n_heads": d.kv_heads,
    },
    "longcat_flash": lambda d: {
        "ffn_hidden_size": 28,
        "expert_ffn_hidden_size": 12,
        "zero_expert_num": 0,
        "moe_topk": 2,
        "num_layers": 3,
        "q_lora_rank": 16,
    },
    "hunyuan_vl_text": lambda d: {"tie_word_embeddings": True},
    "deepseek_v4": lambda d: {
        "n_shared_experts": 1,
        "layer_types": d.maybe(
            d.kinds("compressed_sparse_attention", "heavily_compressed_attention")
        ),
        "mlp_layer_types": d.maybe(d.kinds("hash_moe", "moe")),
        "num_key_value_heads": 1,
        "q_lora_rank": 16,
        "o_groups": 2,
        "o_lora_rank": 6,
        "hc_mult": d.rng.choice([2, 4]),
        "num_attention_heads": 4,
        "head_dim": 32,
        "hidden_size": 48,
        "mlp_bias": False,
        "attention_bias": False,
    },
    "bailing_hybrid": lambda d: {
        "layer_group_size": 3,
        "short_conv_kernel_size": 3,
        "num_hidden_layers": 6,
        "n_group": 1,
        "topk_group": 1,
        "layer_types": None,
        "mlp_layer_types": None,
        "head_dim": 8,
        "tie_word_embeddings": False,
        "q_lora_rank": DROP,
    },
    "muse_glimmer_text": lambda d: {
        "layer_types": d.kinds("full_attention", "sliding_attention"),
        "tie_word_embeddings": True,
    },
    "gemma4_unified_text": _gemma4_unified,
    "t5gemma": _t5gemma,
    "deberta-v2": lambda d: {
        **d.rng.choice(
            [
                {"relative_attention": False},
                {"relative_attention": True},
                {"relative_attention": True, "norm_rel_ebd": "layer_norm"},
            ]
        ),
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "position_buckets": d.rng.choice([-1, 12]),
        "position_biased_input": d.flag(),
        "type_vocab_size": d.rng.choice([0, 2]),
        "max_relative_positions": d.rng.choice([-1, 20]),
    },
    "qwen3_omni_moe_text": lambda d: {"tie_word_embeddings": True, "sliding_window": DROP},
    "cosmos3_edge_text": lambda d: {"tie_word_embeddings": True, "head_dim": 128},
    "rembert": lambda d: {"input_embedding_size": 12},
    "big_bird": lambda d: {"use_bias": True},
    **dict.fromkeys(
        (
            "glm4v_text",
            "glm4v_moe_text",
            "glm_ocr_text",
            "qwen2_vl_text",
            "qwen2_5_vl_text",
            "qwen3_vl_text",
            "qwen3_vl_moe_text",
            "granite_docling_text",
            "emu3_text_model",
            "granite4_vision_text",
            "paddleocr_vl_text",
            "qwen2_5_omni_text",
        ),
        lambda d: {"tie_word_embeddings": True, "layer_types": DROP},
    ),
    "jamba": lambda d: {
        "attn_layer_period": 3,
        "attn_layer_offset": d.rng.randint(0, 2),
        "expert_layer_period": 2,
        "expert_layer_offset": d.rng.randint(0, 1),
        "num_experts": d.rng.choice([1, 4]),
        "num_experts_per_tok": 1,
        "mamba_d_state": d.rng.randint(4, 8),
        "mamba_dt_rank": d.rng.choice(["auto", 6]),
        "mamba_expand": d.rng.choice([1, 2]),
    },
    "kimi_linear": lambda d: {
        "layer_types": d.maybe(["linear_attention", "full_attention"] * 2 + ["full_attention"]),
        "mlp_layer_types": d.maybe(["dense", "sparse", "sparse", "dense", "sparse"]),
        "linear_head_dim": 8,
        "linear_num_heads": d.rng.randint(2, 4),
        "num_hidden_layers": 5,
        "num_key_value_heads": d.heads,
        "tie_word_embeddings": False,
    },
    "lfm2": lambda d: {
        "layer_types": d.maybe(d.kinds("full_attention", "conv")),
        "full_attn_idxs": [1],
        "block_auto_adjust_ff_dim": d.flag(),
        "block_multiple_of": 16,
        "block_ffn_dim_multiplier": d.rng.choice([1.0, 1.3]),
    },
    "lfm2_moe": lambda d: {
        "layer_types": d.kinds("full_attention", "conv"),
        "num_dense_layers": d.rng.randint(0, 3),
    },
    "lfm3": lambda d: {
        "layer_types": d.maybe(d.kinds("full_attention", "conv", "sliding_attention")),
        "use_sandwich_norm": d.flag(),
        "use_attention_gate": d.flag(),
    },
    "minimax": lambda d: {
        "layer_types": d.maybe(d.kinds("full_attention", "linear_attention")),
        "sliding_window": None,
    },
    "nemotron_h": _nemotron_h,
    "zamba2": _zamba2,
    "mllama_text_model": lambda d: {
        "cross_attention_layers": d.rng.choice([[1], [0, 2], []]),
        "tie_word_embeddings": False,
    },
    "zamba": lambda d: {
        "layers_block_type": d.kinds("mamba", "hybrid", "hybrid"),
        "num_key_value_heads": d.heads,
        "hidden_size": 8 * d.heads,
        "attention_head_dim": None,
        "n_mamba_heads": 2,
        "mamba_d_state": 8,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "tie_word_embeddings": True,
    },
    "switch_transformers": lambda d: {
        "num_sparse_encoder_layers": d.rng.randint(0, 3),
        "num_layers": d.rng.randint(3, 6),
        "num_sparse_decoder_layers": d.rng.randint(0, 3),
        "tie_word_embeddings": True,
        "d_kv": 8,
        "router_bias": d.flag(),
        "num_decoder_layers": d.rng.choice([None, 4]),
    },
    "nllb-moe": lambda d: {
        "encoder_sparse_step": d.rng.randint(0, 3),
        "decoder_sparse_step": d.rng.randint(0, 3),
        "router_bias": d.flag(),
        "tie_word_embeddings": True,
    },
    "qwen3_5_text": lambda d: {"num_hidden_layers": 5},
    "qwen3_5_moe_text": lambda d: {"num_hidden_layers": 5},
    "qwen3_next": lambda d: {"num_hidden_layers": 6},
    "deepseek_v3": lambda d: {"n_group": 1, "topk_group": 1},
    "gptj": lambda d: {"rotary_dim": 8},
    "codegen": lambda d: {"rotary_dim": 8, "n_head": 8, "n_embd": 128},
    "bloom": lambda d: {"hidden_size": d.heads * 16},
    "gpt_neo": lambda d: {
        "num_layers": 4,
        "attention_types": [[["global", "local"], 2]],
        "intermediate_size": d.maybe(40),
    },
    "opt": lambda d: {
        "word_embed_proj_dim": d.maybe(d.hidden // 2),
        "enable_bias": d.flag(),
        "do_layer_norm_before": d.flag(),
    },
    "ctrl": lambda d: {"dff": d.even(16, 48)},
    "gpt_neox_japanese": lambda d: {"intermediate_multiple_size": d.rng.choice([2, 4])},
    "starcoder2": lambda d: {"use_bias": d.flag()},
    "xlm-roberta-xl": lambda d: {"tie_word_embeddings": True},
    "distilbert": lambda d: {"hidden_dim": d.even(16, 48)},
    "modernbert": lambda d: {"norm_bias": d.flag()},
    "t5": lambda d: {"feed_forward_proj": d.rng.choice(["relu", "gated-gelu"]), "d_kv": 8},
    "mt5": lambda d: {"feed_forward_proj": d.rng.choice(["relu", "gated-gelu"]), "d_kv": 8},
    "umt5": lambda d: {"feed_forward_proj": d.rng.choice(["relu", "gated-gelu"]), "d_kv": 8},
    "longt5": lambda d: {"feed_forward_proj": d.rng.choice(["relu", "gated-gelu"]), "d_kv": 8},
    "whisper": lambda d: {
        "num_mel_bins": 20,
        "max_source_positions": 30,
        "max_target_positions": 25,
        "tie_word_embeddings": True,
    },
    **dict.fromkeys(
        (
            "bart",
            "bigbird_pegasus",
            "blenderbot",
            "blenderbot-small",
            "m2m_100",
            "mbart",
            "mvp",
            "pegasus",
            "plbart",
        ),
        lambda d: {"tie_word_embeddings": True},
    ),
    "marian": lambda d: {
        "tie_word_embeddings": True,
        "decoder_vocab_size": None,
        "decoder_start_token_id": 0,
    },
    "llama4_text": lambda d: {
        "attention_chunk_size": 8,
        "interleave_moe_layer_step": d.rng.randint(1, 2),
    },
}
