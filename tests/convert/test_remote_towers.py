"""Towers of types outside transformers, by the parameters of their published files.

As llmfit 1.1.17 (PyPI) read them from the hub (``parameters_raw`` of the JSON in its binary). The
dimensions are those of the published config.json files, without keys that change nothing.
"""

from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.memory.weights import summarise
from tests.convert.test_remote import KIMI_K3

Config = dict[str, Any]

MOONLIGHT: Config = {
    "model_type": "deepseek_v3", "hidden_size": 2048, "intermediate_size": 11264, "vocab_size": 163840,
    "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": None,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "first_k_dense_replace": 1, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "moe_intermediate_size": 1408, "moe_layer_freq": 1, "num_nextn_predict_layers": 0,
    "tie_word_embeddings": False,
}  # fmt: skip
KIMI_VL: Config = {
    "model_type": "kimi_vl", "architectures": ["KimiVLForConditionalGeneration"],
    "media_placeholder_token_id": 163605, "text_config": MOONLIGHT,
    "vision_config": {
        "model_type": "moonvit", "patch_size": 14, "num_attention_heads": 16, "num_hidden_layers": 27,
        "hidden_size": 1152, "intermediate_size": 4304, "init_pos_emb_height": 64,
        "init_pos_emb_width": 64, "merge_kernel_size": [2, 2],
    },
}  # fmt: skip
QWEN2_7B: Config = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "vocab_size": 151674,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}  # fmt: skip
# Qwen2.5's 32 and 72 billion parameters.
QWEN2_32B: Config = QWEN2_7B | {
    "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
    "num_attention_heads": 40, "num_key_value_heads": 8,
}  # fmt: skip
QWEN2_72B: Config = QWEN2_7B | {
    "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8,
}  # fmt: skip
INTERN_VIT: Config = {
    "model_type": "intern_vit_6b", "hidden_size": 1024, "intermediate_size": 4096, "image_size": 448,
    "patch_size": 14, "num_channels": 3, "num_attention_heads": 16, "num_hidden_layers": 24,
    "norm_type": "layer_norm", "qk_normalization": False, "qkv_bias": True, "use_moe": False,
    "num_experts": 8, "moe_intermediate_size": 768, "use_flash_attn": True,
}  # fmt: skip
INTERN_VIT_6B: Config = INTERN_VIT | {
    "hidden_size": 3200, "intermediate_size": 12800, "num_attention_heads": 25,
    "num_hidden_layers": 45, "norm_type": "rms_norm", "qk_normalization": True, "qkv_bias": False,
}  # fmt: skip


def internvl(text: Config, vision: Config = INTERN_VIT) -> Config:
    return {"model_type": "internvl_chat", "downsample_ratio": 0.5, "select_layer": -1,
            "llm_config": text, "vision_config": vision}  # fmt: skip


SIGLIP_TIMM: Config = {
    "model_type": "vision", "model_name": "siglip_so400m_patch14_384", "image_size": 384,
    "patch_size": 14, "width": 1152, "layers": 27, "heads": 16, "mlp_ratio": 3.7362,
}  # fmt: skip
VL2_SMALL: Config = {
    "model_type": "deepseek_vl_v2", "tile_tag": "2D", "global_view_pos": "head",
    "language_config": MOONLIGHT | {
        "model_type": "deepseek_v2", "vocab_size": 102400, "intermediate_size": 10944,
    },
    "projector_config": {
        "model_type": "mlp_projector", "projector_type": "downsample_mlp_gelu", "input_dim": 1152,
        "n_embed": 2048, "depth": 2, "mlp_ratio": 1, "downsample_ratio": 2,
    },
    "vision_config": SIGLIP_TIMM,
}  # fmt: skip
SIGLIP: Config = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 980,
    "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
}  # fmt: skip
MINICPM_V: Config = QWEN2_7B | {
    "model_type": "minicpmv", "architectures": ["MiniCPMV"], "version": 2.6, "vocab_size": 151666,
    "query_num": 64, "slice_mode": True, "drop_vision_last_layer": False, "image_size": 448,
    "patch_size": 14, "batch_vision_input": True, "use_image_id": True, "vision_batch_size": 16,
    "slice_config": {"max_slice_nums": 9, "patch_size": 14, "model_type": "minicpmv"},
    "vision_config": SIGLIP,
}  # fmt: skip
MINICPM_V_45: Config = MINICPM_V | {
    "version": 4.5, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151748,
    "attention_bias": False, "batch_3d_resampler": True,
}  # fmt: skip
# DeepSeekMoE's layers, which DeepSeek-VL2-tiny and DeepSeek-OCR hold as a deepseek_v2 without MLA.
DEEPSEEK_3B: Config = {
    "model_type": "deepseek_v2", "use_mla": False, "hidden_size": 1280, "intermediate_size": 6848,
    "kv_lora_rank": None, "q_lora_rank": None, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0,
    "v_head_dim": 0, "num_hidden_layers": 12, "num_attention_heads": 10, "num_key_value_heads": 10,
    "first_k_dense_replace": 1, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "moe_intermediate_size": 896, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
    "vocab_size": 129280, "max_position_embeddings": 8192, "lm_head": True, "rm_head": False,
    "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK_MOE: Config = {
    "model_type": "deepseek", "architectures": ["DeepseekForCausalLM"], "hidden_size": 2048,
    "intermediate_size": 10944, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 16, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "vocab_size": 102400,
    "attention_bias": False, "tie_word_embeddings": False, "max_position_embeddings": 4096,
}  # fmt: skip
OCR_VISION: Config = {
    "image_size": 1024, "mlp_ratio": 3.7362, "model_name": "deeplip_b_l", "model_type": "vision",
    "width": {
        "clip-l-14-224": {
            "heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": 1024},
        "sam_vit_b": {"downsample_channels": [512, 1024], "global_attn_indexes": [2, 5, 8, 11],
                      "heads": 12, "layers": 12, "width": 768},
    },
}  # fmt: skip
OCR: Config = {
    "model_type": "deepseek_vl_v2", "architectures": ["DeepseekOCRForCausalLM"],
    "language_config": DEEPSEEK_3B, "vision_config": OCR_VISION,
    "projector_config": {"input_dim": 2048, "n_embed": 1280, "projector_type": "linear"},
}  # fmt: skip
PHI_3_VISION: Config = {
    "model_type": "phi3_v", "architectures": ["Phi3VForCausalLM"], "hidden_size": 3072,
    "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32064, "sliding_window": 262144,
    "tie_word_embeddings": False, "max_position_embeddings": 131072,
    "img_processor": {"image_dim_out": 1024, "model_name": "openai/clip-vit-large-patch14-336",
                      "name": "clip_vision_model", "num_img_tokens": 144},
    "embd_layer": {"embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp",
                   "use_hd_transform": True, "with_learnable_separator": True},
}  # fmt: skip
DOTS_OCR: Config = QWEN2_7B | {
    "model_type": "dots_ocr", "architectures": ["DotsOCRForCausalLM"], "hidden_size": 1536,
    "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2,
    "vocab_size": 151936, "attention_bias": True, "use_sliding_window": False,
    "vision_config": {
        "embed_dim": 1536, "hidden_size": 1536, "intermediate_size": 4224, "num_hidden_layers": 42,
        "num_attention_heads": 12, "num_channels": 3, "patch_size": 14, "post_norm": True,
        "rms_norm_eps": 1e-05, "spatial_merge_size": 2, "temporal_patch_size": 1, "use_bias": False,
        "attn_implementation": "flash_attention_2", "init_merger_std": 0.02, "is_causal": False,
    },
}  # fmt: skip
K3_VISION: Config = {
    "activation_func": "gelu_pytorch_tanh", "attn_bias": False, "init_pos_emb_height": 64,
    "init_pos_emb_time": 4, "init_pos_emb_width": 64, "linear_bias": False,
    "merge_kernel_size": [2, 2], "merge_type": "sd2_tpool", "mlp_type": "mlp2",
    "mm_hidden_size": 1024, "mm_projector_type": "patchmergerv2", "norm_type": "rmsnorm",
    "patch_embed_proj_bias": False, "patch_size": 14, "pos_emb_interpolation_mode": "bilinear",
    "pos_emb_type": "divided_fixed", "projector_hidden_act": "gelu", "projector_ln_eps": 1e-05,
    "qkv_hidden_size": 1536, "text_hidden_size": 7168, "vt_hidden_size": 1024,
    "vt_intermediate_size": 4096, "vt_num_attention_heads": 12, "vt_num_hidden_layers": 27,
    "_attn_implementation": "flash_attention_2", "video_attn_type": "spatial_temporal",
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "files"),
    [
        # The files hold the routers' correction, 26 * 64, and 1,728 that nobody knows, as Moonlight's.
        pytest.param(KIMI_VL, 16_407_657_776 - 1_664 - 1_728, id="Kimi-VL-A3B"),
        pytest.param(internvl(QWEN2_7B), 7_944_373_760, id="InternVL3-8B"),
        pytest.param(internvl(QWEN2_32B, INTERN_VIT_6B), 38_388_164_992, id="InternVL3-38B"),
        pytest.param(internvl(QWEN2_72B, INTERN_VIT_6B), 78_408_318_336, id="InternVL3-78B"),
        pytest.param(VL2_SMALL, 16_148_349_504, id="deepseek-vl2-small"),
        pytest.param(
            VL2_SMALL | {"language_config": DEEPSEEK_3B, "projector_config":
                         VL2_SMALL["projector_config"] | {"n_embed": 1280}},
            3_370_501_440, id="deepseek-vl2-tiny",
        ),
        pytest.param(DOTS_OCR, 3_039_179_264, id="dots.ocr"),
        pytest.param(OCR, 3_336_106_240, id="DeepSeek-OCR"),
        pytest.param(DEEPSEEK_MOE, 16_375_728_128, id="deepseek-moe-16b"),
        pytest.param(PHI_3_VISION, 4_146_621_440, id="Phi-3.5-vision"),
        pytest.param(MINICPM_V, 8_099_175_152, id="MiniCPM-V-2_6"),
        pytest.param(MINICPM_V_45, 8_695_895_280, id="MiniCPM-V-4_5"),
        # Without attention residuals, latent norms, decays of more heads and the routers' correction.
        pytest.param(
            KIMI_K3 | {"vision_config": K3_VISION},
            2_779_931_837_184 - 2_680_832 - 329_728 - 2_208 - 82_432, id="Kimi-K3",
        ),
    ],
)  # fmt: skip
def test_the_whole_model_is_the_files(config: Config, files: int) -> None:
    spec = spec_from_config(config, "x", "y").spec
    assert summarise(spec).total == files
    assert not any("tower" in part for part in spec.left_out)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            KIMI_VL | {"vision_config": KIMI_VL["vision_config"] | {"depth": 3}},
            "vision_config.depth",
        ),
        (internvl(QWEN2_7B, INTERN_VIT | {"use_moe": True}), "use_moe"),
        (internvl(QWEN2_7B, INTERN_VIT | {"norm_type": "batch_norm"}), "norm_type"),
        (VL2_SMALL | {"vision_config": SIGLIP_TIMM | {"model_name": "vit_base"}}, "model_name"),
        (OCR | {"vision_config": OCR_VISION | {"width": {"sam_vit_b": {}}}}, "vision_config.width"),
        (
            PHI_3_VISION | {"img_processor": PHI_3_VISION["img_processor"] | {"model_name": "x"}},
            "model_name",
        ),
        (MINICPM_V | {"drop_vision_last_layer": True}, "drop_vision_last_layer"),
        (
            KIMI_K3 | {"vision_config": K3_VISION | {"mm_projector_type": "patchmerger"}},
            "patchmerger",
        ),
    ],
)
def test_what_is_not_accounted_for_leaves_the_tower_out(config: Config, said: str) -> None:
    spec = spec_from_config(config, "x", "y").spec
    assert spec.towers == {}
    assert any(said in part for part in spec.left_out), spec.left_out


def test_a_version_that_nobody_read_is_refused() -> None:
    from kvcalc.errors import UnsupportedError

    with pytest.raises(UnsupportedError, match="version = 2"):
        spec_from_config(MINICPM_V | {"version": 2}, "x", "y")
