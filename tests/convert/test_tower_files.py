"""Whole multimodal models of transformers' own types, by the parameters of their published files.

As llmfit 1.1.17 (PyPI) read them from the hub (``parameters_raw`` of the JSON in its binary). What a
number of the files holds beside the class's parameters is taken off it, and said.
"""

from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.memory.weights import summarise

Config = dict[str, Any]

LLAMA_1B: Config = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": True,
}  # fmt: skip
LLAMA_3B: Config = LLAMA_1B | {
    "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "head_dim": 128,
}  # fmt: skip
LLAMA_8B: Config = LLAMA_1B | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "tie_word_embeddings": False,
}  # fmt: skip
# timm's arguments: the encoder without its last layers and its pooling head.
PE_LARGE: Config = {
    "model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336", "do_pooling": True,
    "num_classes": 2, "label_names": ["a", "b"], "model_args": {
        "embed_dim": 1024, "img_size": [448, 448], "depth": 23, "global_pool": "",
        "use_post_transformer_norm": False, "init_values": 0.1, "ref_feat_shape": [32, 32]},
}  # fmt: skip
PE_GIGANTIC: Config = PE_LARGE | {
    "architecture": "vit_pe_core_gigantic_patch14_448",
    "model_args": PE_LARGE["model_args"] | {"embed_dim": 1536, "depth": 47},
}


PE_ARGS: Config = PE_LARGE["model_args"]


def perception(text: Config, vision: Config = PE_LARGE) -> Config:
    return {"model_type": "perception_lm", "architectures": ["PerceptionLMForConditionalGeneration"],
            "text_config": text, "vision_config": vision, "projector_pooling_ratio": 2}  # fmt: skip


FAST_VLM: Config = {
    "model_type": "fast_vlm", "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152128},
    "vision_config": {
        "model_type": "timm_wrapper", "architecture": "fastvit_mci3", "do_pooling": True,
        "global_pool": "avg", "hidden_size": 3072, "model_args": {"inference_mode": True}},
}  # fmt: skip
GRANITE_4: Config = {
    "model_type": "granite4_vision", "tie_word_embeddings": True, "downsample_rate": "4/8",
    "deepstack_layer_map": [[-19, 9], [-13, 6], [-7, 3], [-1, 0]],
    "text_config": {
        "model_type": "granite4_vision_text", "hidden_size": 2560, "intermediate_size": 8192,
        "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 8,
        "vocab_size": 100352, "tie_word_embeddings": True},
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
        "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 16, "image_size": 384},
    "qformer_config": {
        "model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 3072,
        "cross_attention_frequency": 1, "encoder_hidden_size": 1152, "max_position_embeddings": 2048,
        "use_qformer_text_input": False},
}  # fmt: skip
EMU3: Config = {
    "model_type": "emu3", "vocabulary_map": {"<image>": 151851},
    "text_config": {
        "model_type": "emu3_text_model", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 184622},
    "vq_config": {
        "model_type": "emu3_vqgan", "base_channels": 256, "channel_multiplier": [1, 2, 2, 4],
        "codebook_size": 32768, "embed_dim": 4, "latent_channels": 4, "double_latent": False,
        "num_res_blocks": 2, "attn_resolutions": [3], "hidden_size": 1024,
        "temporal_downsample_factor": 4},
}  # fmt: skip


QWEN3_8B: Config = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "qk_norm_type": "qwen3",
}  # fmt: skip
QWEN3_4B: Config = QWEN3_8B | {"hidden_size": 2560, "intermediate_size": 9728}
OLMO3_7B: Config = QWEN3_8B | {
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 100278,
    "qk_norm_type": "olmo", "norm_after": True,
}  # fmt: skip


def molmo2(text: Config) -> Config:
    """As the released files have it: 27 layers, of which the class builds the 25 that are read."""
    heads = {"num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 72}
    return {
        "model_type": "molmo2", "architectures": ["Molmo2ForConditionalGeneration"],
        "text_config": text | {"model_type": "molmo2_text", "additional_vocab_size": 128},
        "vit_config": heads | {
            "model_type": "molmo2", "hidden_size": 1152, "intermediate_size": 4304,
            "num_hidden_layers": 27, "image_default_input_size": [378, 378], "image_patch_size": 14,
            "image_num_pos": 729},
        "adapter_config": heads | {
            "model_type": "molmo2", "hidden_size": 1152, "vit_layers": [-3, -9],
            "text_hidden_size": text["hidden_size"], "intermediate_size": text["intermediate_size"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "files"),
    [
        pytest.param(perception(LLAMA_1B), 1_533_524_992, id="Perception-LM-1B"),
        pytest.param(perception(LLAMA_3B), 3_516_753_920, id="Perception-LM-3B"),
        pytest.param(perception(LLAMA_8B, PE_GIGANTIC), 9_794_260_736, id="Perception-LM-8B"),
        pytest.param(FAST_VLM, 7_762_651_744, id="FastVLM-7B"),
        # granite-4.0-3b-vision's files hold image_newline, 2,560 wide, once more.
        pytest.param(GRANITE_4, 3_997_203_904, id="granite-vision-4.1-4b"),
        pytest.param(molmo2(QWEN3_8B), 8_661_703_120, id="Molmo2-8B"),
        pytest.param(molmo2(QWEN3_4B), 4_850_869_200, id="Molmo2-4B"),
        pytest.param(molmo2(OLMO3_7B), 7_760_786_896, id="Molmo2-O-7B"),
        # Means and variances of 8 norms over the batch, 4 wide each, are buffers.
        pytest.param(EMU3, 8_762_751_871 - 64, id="Emu3-Chat-hf"),
    ],
)
def test_the_whole_model_is_the_files(config: Config, files: int) -> None:
    spec = spec_from_config(config, "x", "y").spec
    assert summarise(spec).total == files
    assert spec.left_out == ()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (perception(LLAMA_1B, PE_LARGE | {"architecture": "vit_base_patch16_224"}), "architecture"),
        (
            perception(LLAMA_1B, PE_LARGE | {"model_args": PE_ARGS | {"global_pool": "map"}}),
            "model_args.global_pool",
        ),
        (
            perception(LLAMA_1B, PE_LARGE | {"model_args": PE_ARGS | {"mlp_ratio": 2}}),
            "model_args.mlp_ratio",
        ),
        (FAST_VLM | {"vision_config": FAST_VLM["vision_config"] | {"model_args": {}}}, "inference_mode"),
        (GRANITE_4 | {"downsample_rate": None}, "downsample_rate"),
    ],
)  # fmt: skip
def test_what_is_not_accounted_for_leaves_the_tower_out(config: Config, said: str) -> None:
    spec = spec_from_config(config, "x", "y").spec
    assert spec.towers == {}
    assert any(said in part for part in spec.left_out), spec.left_out


def test_a_rate_that_is_no_fraction_is_a_problem_of_the_file() -> None:
    from kvcalc.errors import SpecError

    for rate in ("0/8", "4", "-1/2", "9999999999/8"):
        with pytest.raises(SpecError, match="downsample_rate"):
            spec_from_config(GRANITE_4 | {"downsample_rate": rate}, "x", "y")


def test_a_head_is_tied_as_the_language_model_says() -> None:
    # FastVlmConfig takes the language model's word for yes, PerceptionLMConfig where it has none.
    tied = FAST_VLM | {"text_config": FAST_VLM["text_config"] | {"tie_word_embeddings": True}}
    assert spec_from_config(tied, "x", "y").spec.tie_word_embeddings
    found = perception(LLAMA_1B) | {"tie_word_embeddings": False}
    assert not spec_from_config(found, "x", "y").spec.tie_word_embeddings
