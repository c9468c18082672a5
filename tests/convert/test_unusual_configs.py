"""Configs that a class allows and no published model has: totals of transformers 5.23's own models.

Every number is the sum of the parameters of the model that transformers builds from the config on
the meta device, tied tensors once.
"""

from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.memory.weights import summarise

T5: dict[str, Any] = {
    "vocab_size": 64, "d_model": 48, "d_kv": 4, "d_ff": 72, "num_layers": 3,
    "num_decoder_layers": 5, "num_heads": 4,
}  # fmt: skip
BERT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40,
}  # fmt: skip
BASE = {"vocab_size": 50265}
LLAMA: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": False,
}  # fmt: skip

CONFIGS: list[tuple[dict[str, Any], int]] = [
    # is_gated_act, where the file states it, wins over feed_forward_proj.
    (T5 | {"model_type": "mt5", "is_gated_act": False}, 99_664),
    (T5 | {"model_type": "t5", "is_gated_act": True}, 127_312),
    # A stated step wins over the number of sparse layers.
    (T5 | {"model_type": "switch_transformers", "num_experts": 4, "encoder_sparse_step": 2,
           "decoder_sparse_step": 0}, 120_592),
    # xIELU's scalars belong to xIELU only.
    (LLAMA | {"model_type": "apertus", "hidden_act": "relu"}, 22_800),
    # Without shared experts Hunyuan 3 builds a layer of the dense width in their place.
    (LLAMA | {"model_type": "hy_v3", "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8,
              "moe_intermediate_size": 16, "num_shared_experts": 0}, 39_952),
    # Biases in the dense layers and the shared experts, not in the routed ones.
    (LLAMA | {"model_type": "deepseek_v2", "mlp_bias": True, "first_k_dense_replace": 1,
              "n_routed_experts": 4, "n_shared_experts": 2, "moe_intermediate_size": 16,
              "num_experts_per_tok": 2, "kv_lora_rank": 8, "q_lora_rank": None,
              "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}, 38_328),
    # Two groups of layers with weights of their own, three layers in each.
    (BERT | {"model_type": "albert", "embedding_size": 16, "num_hidden_groups": 2,
             "inner_group_num": 3}, 48_352),
    # A table of tasks (ernie-3.0); a table of token types without rows.
    (BERT | {"model_type": "ernie", "use_task_id": True, "task_type_vocab_size": 3}, 42_128),
    (BERT | {"model_type": "roberta", "type_vocab_size": 0}, 41_968),
    (BERT | {"model_type": "big_bird", "use_bias": False}, 41_552),
    # allenai/longformer-base-4096 and allenai/led-base-16384.
    (BASE | {"model_type": "longformer", "hidden_size": 768, "num_attention_heads": 12,
             "num_hidden_layers": 12, "intermediate_size": 3072, "attention_window": [512] * 12,
             "max_position_embeddings": 4098, "type_vocab_size": 1}, 148_659_456),
    (BASE | {"model_type": "led", "d_model": 768, "encoder_layers": 6, "decoder_layers": 6,
             "encoder_attention_heads": 12, "decoder_attention_heads": 12,
             "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "attention_window": [1024] * 6,
             "max_encoder_position_embeddings": 16384,
             "max_decoder_position_embeddings": 1024}, 161_844_480),
    # google/pegasus-x-base.
    ({"model_type": "pegasus_x", "vocab_size": 96103, "d_model": 768, "encoder_layers": 12,
      "decoder_layers": 12, "encoder_attention_heads": 12, "decoder_attention_heads": 12,
      "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "num_global_tokens": 128}, 272_292_096),
    # jhu-clsp/ettin-decoder-150m.
    ({"model_type": "modernbert-decoder", "vocab_size": 50368, "hidden_size": 768,
      "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152,
      "local_attention": 128, "tie_word_embeddings": True}, 149_655_232),
    # EmbeddingGemma: an encoder with Gemma 3's layers.
    (LLAMA | {"model_type": "gemma3_text", "use_bidirectional_attention": True, "head_dim": 8,
              "tie_word_embeddings": True}, 25_552),
    # What a class writes back that its fields do not have.
    (LLAMA | {"model_type": "minicpm3", "qk_head_dim": 12, "kv_lora_rank": 8, "q_lora_rank": 8,
              "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}, 25_872),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "parameters"),
    CONFIGS,
    ids=lambda value: isinstance(value, dict) and value["model_type"],
)
def test_totals_of_unusual_configs(config: dict[str, Any], parameters: int) -> None:
    assert summarise(spec_from_config(config, "model", "config.json").spec).total == parameters


def test_a_bidirectional_gemma_keeps_no_cache() -> None:
    config = CONFIGS[14][0] | {"sliding_window": 9, "layer_types": ["sliding_attention"] * 3}
    spec = spec_from_config(config, "model", "config.json").spec
    (block,) = spec.blocks.values()
    assert block.attention is not None
    assert not list(block.attention.cache())
    assert getattr(block.attention, "sliding_window", None) == 5  # half of it, and the token itself
