"""Random configs: small dimensions drawn for every key of a model_type's class that may matter.

A draw is what a config.json could hold. The same object goes to kvcalc and to transformers, so the
two are compared for any dimensions, not for the published ones.
"""

import random
from typing import Any

from tests.convert.dimensions import DROP, NULL, Dimensions, Draw, nothing
from tests.convert.overrides import OVERRIDES


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


def draw(
    model_type: str, seed: int, fields: dict[str, Any], kind: type[Dimensions] = Dimensions
) -> Draw:
    """One config of a model_type. fields: what its class has, with defaults. kind: of the sizes."""
    d = kind(random.Random(f"{model_type} {seed}"))
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
    config.update(OVERRIDES.get(model_type, nothing)(d))
    found = {key: value for key, value in config.items() if value is not DROP}
    return {key: None if value is NULL else value for key, value in found.items()}
