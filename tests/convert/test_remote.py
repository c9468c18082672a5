"""Models of remote code against the totals of their published checkpoints; heads by architecture."""

from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS, OUTSIDE, REMOTE, REMOTE_TEXT, TEXT_CONFIGS
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import SpecError, UnsupportedError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.weights import summarise
from kvcalc.spec import catalog
from kvcalc.spec.catalog import load
from kvcalc.spec.layers import decoder_layers

LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
INTERNLM2 = LLAMA | {
    "model_type": "internlm2", "num_key_value_heads": 8, "intermediate_size": 14336,
    "vocab_size": 92544, "bias": False, "tie_word_embeddings": False,
}  # fmt: skip
CHATGLM = {
    "model_type": "chatglm", "add_bias_linear": False, "add_qkv_bias": True, "hidden_size": 4096,
    "ffn_hidden_size": 13696, "kv_channels": 128, "multi_query_attention": True,
    "multi_query_group_num": 2, "num_attention_heads": 32, "num_layers": 28,
    "padded_vocab_size": 65024, "seq_length": 8192, "rmsnorm": True, "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False, "tie_word_embeddings": False,
}  # fmt: skip
# inclusionAI/Ling-mini-2.0.
LING_2 = {
    "model_type": "bailing_moe", "hidden_size": 2048, "intermediate_size": 5120,
    "num_hidden_layers": 20, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128,
    "vocab_size": 157_184, "moe_intermediate_size": 512, "num_experts": 256,
    "num_experts_per_tok": 8, "num_shared_experts": 1, "use_bias": False, "use_qkv_bias": False,
    "use_qk_norm": True, "use_rmsnorm": True, "first_k_dense_replace": 1,
    "moe_router_enable_expert_bias": True, "tie_word_embeddings": False, "norm_head": False,
}  # fmt: skip

# The configs' dimensions as published; the totals of the safetensors that the hub shows beside them.
PUBLISHED: list[tuple[str, dict[str, Any], int, int]] = [
    # 32 * 2 * 8 * 128 * 2 bytes a token.
    ("internlm2-7b", INTERNLM2, 7_737_708_544, 131_072),
    # 28 * 2 * 2 * 128 * 2, and 40 layers of the same.
    ("chatglm3-6b", CHATGLM, 6_243_584_000, 28_672),
    ("glm-4-9b", CHATGLM | {"num_layers": 40, "padded_vocab_size": 151_552}, 9_399_951_360, 40_960),
    ("baichuan2-7b", LLAMA | {
        "model_type": "baichuan", "intermediate_size": 11008, "vocab_size": 125_696,
        "max_position_embeddings": 4096, "z_loss_weight": 0, "tie_word_embeddings": False,
    }, 7_505_973_248, 524_288),
    ("qwen-7b", LLAMA | {
        "model_type": "qwen", "intermediate_size": 22016, "kv_channels": 128, "no_bias": True,
        "vocab_size": 151_936, "seq_length": 8192,
    }, 7_721_324_544, 524_288),
    ("exaone-3.5-7.8b", {
        "model_type": "exaone", "hidden_size": 4096, "num_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 14336,
        "vocab_size": 102_400, "tie_word_embeddings": False,
    }, 7_818_448_896, 131_072),
    # Phi-3-mini's own 3.8 B; the image embedding is left out.
    ("phi-3-vision", {
        "model_type": "phi3_v", "hidden_size": 3072, "num_hidden_layers": 32, "vocab_size": 32064,
        "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 8192,
        "tie_word_embeddings": False, "embd_layer": {"image_embd_layer": {}},
    }, 3_821_079_552, 393_216),
    # openbmb/MiniCPM-2B-sft-bf16: 40 layers of 36 heads, tied.
    ("minicpm-2b", {
        "model_type": "minicpm", "hidden_size": 2304, "num_hidden_layers": 40, "vocab_size": 122_753,
        "num_attention_heads": 36, "num_key_value_heads": 36, "intermediate_size": 5760,
        "scale_emb": 12, "dim_model_base": 256, "scale_depth": 1.4,
    }, 2_724_880_896, 368_640),
    # inclusionAI/Ling-lite: 28 layers of 64 experts and two shared ones; 28 * 2 * 4 * 128 * 2.
    ("ling-lite", {
        "model_type": "bailing_moe", "hidden_size": 2048, "intermediate_size": 5632,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 4,
        "vocab_size": 126_464, "moe_intermediate_size": 1408, "num_experts": 64,
        "num_experts_per_tok": 6, "num_shared_experts": 2, "use_bias": False,
        "use_qkv_bias": False, "norm_head": False, "first_k_dense_replace": 0,
    }, 16_801_974_272, 57_344),
    # Their files hold 19 * 256, 31 * 256 and 76 * 256 router biases beside these (16,255,643,392,
    # 102,889,705,216 and 999,705,328,640 elements).
    ("ling-mini-2.0", LING_2, 16_255_638_528, 40_960),
    ("ling-flash-2.0", LING_2 | {
        "hidden_size": 4096, "intermediate_size": 9216, "num_hidden_layers": 32,
        "num_attention_heads": 32, "moe_intermediate_size": 1024,
    }, 102_889_697_280, 65_536),
    ("ling-1t", LING_2 | {
        "hidden_size": 8192, "intermediate_size": 18432, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8, "moe_intermediate_size": 2048,
        "first_k_dense_replace": 4,
    }, 999_705_309_184, 327_680),
    # Nanbeige/Nanbeige4.2-3B: 22 layers that run twice, 44 * 2 * 8 * 128 * 2.
    ("nanbeige4.2-3b", {
        "model_type": "nanbeige", "hidden_size": 3072, "intermediate_size": 10752,
        "num_hidden_layers": 22, "num_attention_heads": 48, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 166_144, "num_loops": 2, "tie_word_embeddings": False,
    }, 4_169_800_704, 180_224),
    # XHToken/Spark-X2.5-4B: 9 of 36 layers see everything, 9 * 2 * 4 * 256 * 2.
    ("spark-x2.5-4b", {
        "model_type": "spark2_5", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
        "head_dim": 256, "vocab_size": 131_072, "sliding_window": 512,
        "layer_types": [*["sliding_attention"] * 3, "full_attention"] * 9,
        "headwise_attn_output_gate": True, "tie_word_embeddings": True,
    }, 4_112_079_360, 36_864),
    # apple/OpenELM-1_1B: (3 * 4 + 7 * 5 + 8 * 6 + 6 * 7 + 4 * 8) * 2 * 64 * 2.
    ("openelm-1.1b", {
        "model_type": "openelm", "model_dim": 2048, "num_transformer_layers": 28, "head_dim": 64,
        "num_query_heads": [*[16] * 3, *[20] * 7, *[24] * 8, *[28] * 6, *[32] * 4],
        "num_kv_heads": [*[4] * 3, *[5] * 7, *[6] * 8, *[7] * 6, *[8] * 4],
        "ffn_multipliers": [0.5, 0.63, 0.76, 0.89, 1.02, 1.15, 1.28, 1.41, 1.54, 1.67, 1.8, 1.93,
                            2.06, 2.19, 2.31, 2.44, 2.57, 2.7, 2.83, 2.96, 3.09, 3.22, 3.35, 3.48,
                            3.61, 3.74, 3.87, 4.0],
        "ffn_dim_divisor": 256, "ffn_with_glu": True, "normalize_qk_projections": True,
        "num_gqa_groups": 4, "qkv_multipliers": [0.5, 1.0], "rope_max_length": 4096,
        "share_input_output_layers": True, "vocab_size": 32_000, "max_context_length": 2048,
    }, 1_079_891_456, 43_264),
]  # fmt: skip


@pytest.mark.parametrize(
    "key", ["use_bias", "use_qkv_bias", "num_shared_experts", "first_k_dense_replace"]
)
def test_what_ling_s_class_has_no_default_for_is_asked_for(key: str) -> None:
    config = {name: value for name, value in LING_2.items() if name != key}
    with pytest.raises(SpecError, match=key):
        spec_from_config(config, "ling", "config.json")


@pytest.mark.parametrize(("name", "config", "parameters", "per_token"), PUBLISHED)
def test_published_totals(
    name: str, config: dict[str, Any], parameters: int, per_token: int
) -> None:
    spec = spec_from_config(config, name, "config.json").spec
    assert summarise(spec).total == parameters
    assert cache_function(spec, CacheDtypes()).slope == per_token


def searched(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "nemotron-nas", "hidden_size": 256, "num_hidden_layers": len(blocks),
        "num_attention_heads": 4, "vocab_size": 100, "tie_word_embeddings": False,
        "num_key_value_heads": None, "intermediate_size": None, "block_configs": list(blocks),
    }  # fmt: skip


def test_searched_layers_have_widths_and_heads_of_their_own() -> None:
    whole = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 2.625}}
    narrow = {"attention": {"no_op": True, "n_heads_in_group": None}, "ffn": {"ffn_mult": 0.5}}
    spec = spec_from_config(searched(whole, narrow, whole), "x", "y").spec
    widths = [spec.blocks[name].ffn.intermediate_size for name in spec.blocks]
    # int(2 * 2.625 * 256 / 3) = 448, up to a multiple of 256; int(2 * 0.5 * 256 / 3) = 85.
    assert sorted(widths) == [256, 512]
    # Two layers of 2 KV heads of 64.
    assert cache_function(spec, CacheDtypes()).slope == 2 * 2 * 2 * 64 * 2
    linear = {"attention": {"replace_with_linear": True}, "ffn": {"ffn_mult": 1.0}}
    with pytest.raises(UnsupportedError, match="a linear layer in place"):
        spec_from_config(searched(linear), "x", "y")


def test_the_language_model_of_a_remote_multimodal_type() -> None:
    # OpenGVLab/InternVL2-8B holds InternLM2.5-7B-Chat, whose vocabulary has 9 tokens more.
    config = {"model_type": "internvl_chat", "vision_config": {}, "llm_config": INTERNLM2 | {
        "vocab_size": 92_553}}  # fmt: skip
    found = spec_from_config(config, "x", "y").spec
    assert summarise(found).total == 7_737_708_544 + 2 * 9 * 4096
    with pytest.raises(SpecError, match=r"llm_config\.model_type"):
        spec_from_config(config | {"llm_config": {"hidden_size": 8}}, "x", "y")


MISTRAL = LLAMA | {
    "model_type": "mistral", "num_key_value_heads": 8, "intermediate_size": 14336,
    "vocab_size": 32000, "tie_word_embeddings": False, "head_dim": 128, "sliding_window": None,
    "max_position_embeddings": 32768,
}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "parameters", "left_out"),
    [
        ("MistralForCausalLM", 7_241_732_096, ()),
        # intfloat/e5-mistral-7b-instruct: 7.11 B values, the head's 131,072,000 fewer.
        ("MistralModel", 7_110_660_096, ()),
        # Two labels where the file says nothing: transformers' num_labels.
        ("MistralForSequenceClassification", 7_110_668_288, ()),
        ("MistralForRewardModel", 7_110_660_096, ('the head of "MistralForRewardModel"',)),
    ],
)  # fmt: skip
def test_the_head_is_that_of_the_architecture(
    architecture: str, parameters: int, left_out: tuple[str, ...]
) -> None:
    spec = spec_from_config(MISTRAL | {"architectures": [architecture]}, "x", "y").spec
    assert summarise(spec).total == parameters
    assert spec.left_out == left_out
    assert cache_function(spec, CacheDtypes()).slope == 131_072


def test_draft_models_without_a_reader_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="drafts tokens for another"):
        spec_from_config(MISTRAL | {"architectures": ["LiLiCorrDraftModel"]}, "x", "y")


@pytest.mark.parametrize("model_type", ["internlm2", "minicpm"])
def test_a_head_width_that_the_code_does_not_read_is_refused(model_type: str) -> None:
    config = {**INTERNLM2, "model_type": model_type}
    assert spec_from_config({**config, "head_dim": 128}, "m", "config.json")
    with pytest.raises(UnsupportedError, match="head_dim = 64: contradicts 128"):
        spec_from_config({**config, "head_dim": 64}, "m", "config.json")


_K3_FULL = [*range(4, 93, 4), 93]
# moonshotai/Kimi-K3, config.json without what changes nothing.
KIMI_K3: dict[str, Any] = {
    "model_type": "kimi_k3", "architectures": ["KimiK3ForConditionalGeneration"],
    "tie_word_embeddings": False, "vision_config": {"vt_hidden_size": 1024},
    "text_config": {
        "model_type": "kimi_linear", "hidden_size": 7168, "intermediate_size": 33792,
        "vocab_size": 163_840, "num_hidden_layers": 93, "num_attention_heads": 96,
        "num_key_value_heads": 96, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "mla_use_nope": True, "mla_use_output_gate": True,
        "linear_attn_config": {
            "num_heads": 96, "head_dim": 128, "short_conv_kernel_size": 4, "use_full_rank_gate": True,
            "gate_lower_bound": -5.0, "full_attn_layers": _K3_FULL,
            "kda_layers": [layer for layer in range(1, 94) if layer not in _K3_FULL],
        },
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_experts": 896, "num_shared_experts": 2,
        "num_experts_per_token": 16, "moe_intermediate_size": 3072, "routed_expert_hidden_size": 3584,
        "latent_moe_use_norm": True, "attn_res_block_size": 12, "tie_word_embeddings": False,
        "max_position_embeddings": 1_048_576, "num_nextn_predict_layers": 0, "moe_renormalize": True,
    },
}  # fmt: skip
_MXFP4 = {
    "quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized",
    "quantization_status": "compressed", "kv_cache_scheme": None,
    "config_groups": {"group_0": {
        "format": "mxfp4-pack-quantized", "targets": ["Linear"], "input_activations": None,
        "output_activations": None, "weights": {
            "num_bits": 4, "type": "float", "group_size": 32, "strategy": "group", "symmetric": True,
            "dynamic": False, "scale_dtype": "torch.uint8"},
    }},
    "ignore": ["re:.*self_attn.*", "re:.*shared_experts.*",
               "re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "re:.*lm_head.*", "re:.*vision_tower.*",
               "re:.*mm_projector.*"],
}  # fmt: skip


def test_kimi_k3_imports_to_the_published_tensors() -> None:
    # The headers of its 96 files: 2,779,484,395,776 parameters of the language model, of which are left
    # out the residuals' 93 x 4 x 7,168 + 2 x 7,168, the latent norms' 92 x 3,584, and the padding of
    # A_log from 96 to 128 in 69 layers.
    spec = spec_from_config(KIMI_K3, "k3", "config.json").spec
    assert summarise(spec).total == 2_779_484_395_776 - 2_680_832 - 329_728 - 2_208
    assert cache_function(spec, CacheDtypes()).slope == 27_648
    shipped = load("kimi-k3")
    assert [spec.blocks[layer.block] for layer in decoder_layers(spec)] == [
        shipped.blocks[layer.block] for layer in decoder_layers(shipped)
    ]


def test_the_experts_of_kimi_k3_alone_are_quantised() -> None:
    text = KIMI_K3["text_config"] | {"quantization_config": _MXFP4}
    spec = spec_from_config(KIMI_K3 | {"text_config": text}, "k3", "config.json").spec
    (rule,) = spec.weight_formats
    assert (rule.tensors, rule.format) == (
        ("ffn.experts.gate_up_proj", "ffn.experts.down_proj"), "mxfp4",
    )  # fmt: skip


def test_ouro_runs_its_layers_four_times() -> None:
    # ByteDance/Ouro-1.4B: configuration_ouro.py and modeling_ouro.py beside it.
    config = {
        "model_type": "ouro", "hidden_size": 2048, "vocab_size": 49_152, "num_hidden_layers": 24,
        "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 5632,
        "total_ut_steps": 4, "early_exit_threshold": 1.0, "max_position_embeddings": 65_536,
        "use_sliding_window": False, "sliding_window": None, "max_window_layers": 24,
        "layer_types": ["full_attention"] * 24, "tie_word_embeddings": False,
    }  # fmt: skip
    spec, shipped = spec_from_config(config, "o", "x").spec, load("ouro-1.4b")
    assert (spec.blocks, spec.layers) == (shipped.blocks, shipped.layers)
    with pytest.raises(UnsupportedError, match="use_sliding_window"):
        spec_from_config(config | {"use_sliding_window": True}, "o", "x")


# Shipped types whose configs have no reader: their code is outside transformers.
BY_HAND = {"hunyuan", "minimax_vl_01", "rwkv6", "rwkv7", "step3_vl"}


def test_whatever_is_shipped_imports_or_says_which_spec_to_copy() -> None:
    types = {load(name).model_type for name in catalog.shipped()} - {None}
    readers = {*CONVERTERS, *TEXT_CONFIGS, *REMOTE, *REMOTE_TEXT, *OUTSIDE}
    assert types - readers == BY_HAND
    for model_type in BY_HAND:
        with pytest.raises(UnsupportedError, match="is shipped: change a copy of that spec"):
            spec_from_config({"model_type": model_type, "hidden_size": 64}, "x", "x")


MIMO_V2_5 = {
    # As GitM-Labs/runtime, gitm/planner/models/mimo-v2.5.yaml (c26374926f), read the published file.
    "model_type": "mimo_v2", "architectures": ["MiMoV2ForCausalLM"], "num_hidden_layers": 48,
    "hidden_size": 4096, "vocab_size": 152576, "num_attention_heads": 64, "num_key_value_heads": 4,
    "head_dim": 192, "v_head_dim": 128, "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8,
    "swa_head_dim": 192, "swa_v_head_dim": 128, "sliding_window": 128, "sliding_window_size": 128,
    "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False, "attention_bias": False,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
    "intermediate_size": 16384, "n_shared_experts": None, "tie_word_embeddings": False,
    "hybrid_layer_pattern": [int(index > 0 and (index + 1) % 6 > 0) for index in range(48)],
    "moe_layer_freq": [0] + [1] * 47, "attention_projection_layout": "fused_qkv",
    "vision_config": {"hidden_size": 1280}, "audio_config": {"hidden_size": 1024},
}  # fmt: skip


def test_mimo_v2_5_has_the_language_model_of_v2_flash() -> None:
    spec = spec_from_config(MIMO_V2_5, "mimo", "config.json").spec
    # llmfit 1.1.17: 309,785,318,400 in MiMo-V2-Flash's files, with modules, buffers and scales.
    assert summarise(spec).total == 308_778_768_832
    flash = catalog.load("mimo-v2-flash")
    assert [spec.blocks[layer.block].attention for layer in decoder_layers(spec)] == [
        flash.blocks[layer.block].attention for layer in decoder_layers(flash)
    ]
    assert spec.left_out == (
        "vision tower (vision_config of the config)", "audio tower (audio_config of the config)",
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="hybrid_layer_pattern"):
        spec_from_config(MIMO_V2_5 | {"hybrid_layer_pattern": [2] * 48}, "mimo", "config.json")


def test_deepseek_v4_1_is_refused_with_what_the_language_lacks() -> None:
    with pytest.raises(UnsupportedError, match="tables of hashed n-grams of four tokens"):
        spec_from_config({"model_type": "deepseek_v41", "text_config": {}}, "v41", "config.json")
