"""Multimodal configs with their towers, held to transformers' totals."""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.locate import locate
from kvcalc.errors import SpecError
from kvcalc.memory.weights import summarise
from tests.convert.safetensors_files import CONFIG, Tensors, llama, save

# Qwen2.5-VL-7B: the published config's dimensions. Its class has 8,292,166,656 parameters, of which
# the tower 676,550,144 (transformers 5.23.0 on the meta device); the index has as many.
QWEN: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen2_5_vl_text", "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
    "vision_config": {
        "model_type": "qwen2_5_vl_vision", "depth": 32, "hidden_size": 1280, "num_heads": 16,
        "intermediate_size": 3420, "out_hidden_size": 3584, "patch_size": 14,
    },
}  # fmt: skip

SMALL: dict[str, Any] = {
    "model_type": "llava", "tie_word_embeddings": False, "text_config": CONFIG,
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 4, "patch_size": 2,
        "vision_use_head": False,
    },
}  # fmt: skip


def test_qwen2_5_vl_7b() -> None:
    found = spec_from_config(QWEN, "qwen", "a test")
    parameters = summarise(found.spec)
    assert parameters.total == 8_292_166_656
    assert parameters.language_model == 7_615_616_512
    assert parameters.by_component["vision"] == 676_550_144
    assert found.spec.left_out == ()
    # What the tower's class fills in is said.
    assert any("vision_config.temporal_patch_size = 2" in said for said in found.assumptions)


def changed(**vision: Any) -> dict[str, Any]:
    return QWEN | {"vision_config": QWEN["vision_config"] | vision}


def test_what_no_reader_accounts_for_is_left_out_and_named() -> None:
    found = spec_from_config(changed(num_experts=8), "qwen", "a test")
    assert summarise(found.spec).total == 7_615_616_512
    assert found.spec.towers == {}
    [name] = found.spec.left_out
    assert name.startswith(
        "vision tower (vision_config of the config); vision_config.num_experts = 8"
    )


def test_a_tower_of_another_type_is_left_out_and_named() -> None:
    tower = SMALL["vision_config"] | {"model_type": "resnet"}
    found = spec_from_config(SMALL | {"vision_config": tower}, "llava", "a test")
    [name] = found.spec.left_out
    assert "'resnet' is not accounted for" in name


def test_files_that_give_the_tower_the_whole_models_type() -> None:
    # Qwen's own files do: the class is the tower's all the same.
    spec = spec_from_config(changed(model_type="qwen2_5_vl"), "qwen", "a test").spec
    assert summarise(spec).by_component["vision"] == 676_550_144


@pytest.mark.parametrize("vision", [{"depth": -1}, {"hidden_size": "wide"}, {"num_heads": 7}])
def test_a_wrong_tower_is_an_error(vision: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="vision_config"):
        spec_from_config(changed(**vision), "qwen", "a test")


# ------------------------------------------------------------------ towers in files


def folder(path: Path, tower: Tensors) -> str:
    (path / "config.json").write_text(json.dumps(SMALL))
    save(path / "model.safetensors", {**llama(), **tower})
    return str(path)


@pytest.mark.parametrize(("dtype", "each"), [("BF16", 2), ("F32", 4)])
def test_a_tower_in_the_files_is_counted_with_its_format(
    tmp_path: Path, dtype: str, each: int
) -> None:
    # Patches 104, positions 32, a layer of 600, a norm of 16; a projector of 576 + 4,160.
    tower: Tensors = {
        "vision_tower.vision_model.everything.weight": (dtype, [752]),
        "multi_modal_projector.everything.weight": (dtype, [4736]),
    }
    path = folder(tmp_path, tower)
    found, located = kvcalc.estimate(path), locate(path)
    assert found.parameters.by_component["vision"] == 752
    assert found.parameters.by_component["projector"] == 4_736
    assert found.weight_bytes_by_component["vision"] == 752 * each
    assert found.weight_bytes == found.parameters.language_model * 2 + 5_488 * each
    assert located.weights is not None
    assert located.weights.bytes == found.weight_bytes
    assert located.weights.beside == ()


def test_a_tower_that_is_another_than_the_files_is_not_counted_twice(tmp_path: Path) -> None:
    tower: Tensors = {"vision_tower.vision_model.everything.weight": ("BF16", [64, 192])}
    path = folder(tmp_path, tower)
    found = kvcalc.estimate(path)
    assert found.parameters.total == found.parameters.language_model
    assert any(
        "towers not counted: the config's have 5,488 parameters, the files' 12,288" in said
        for said in locate(path).assumptions
    )


@pytest.mark.parametrize(
    ("kind", "text", "vision", "audio", "heads"),
    [
        # transformers 5.23.0, Qwen2_5OmniThinkerForConditionalGeneration on the meta device:
        # 11,338,288,896 in all.
        ("qwen2_5_omni", "qwen2_5_omni_text", 3_083_025_152, 639_647_232, {}),
        # Qwen3OmniMoeThinkerForConditionalGeneration; 28 heads do not divide 2,048.
        ("qwen3_omni_moe", "qwen3_omni_moe_text", 566_949_104, 649_894_784, {"head_dim": 128}),
    ],
)
def test_a_multimodal_config_inside_another_has_its_towers(
    kind: str, text: str, vision: int, audio: int, heads: dict[str, int]
) -> None:
    thinker = {
        "model_type": f"{kind}_thinker",
        "vision_config": {"model_type": f"{kind}_vision_encoder"},
        "audio_config": {"model_type": f"{kind}_audio_encoder"},
        "text_config": {"model_type": text, **heads},
    }
    whole = {"model_type": kind, "thinker_config": thinker, "talker_config": {}}
    found = spec_from_config(whole, source="omni", name="omni")
    counted = summarise(found.spec)
    components = counted.by_component
    assert (components["vision"], components["audio"]) == (vision, audio)
    assert found.spec.left_out == ("speech decoder (talker_config of the config)",)
    if kind == "qwen2_5_omni":
        assert counted.total == 11_338_288_896


TALKER: dict[str, Any] = {
    "vocab_size": 8448, "embedding_size": 3584, "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128,
}  # fmt: skip
DIT: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 22, "num_attention_heads": 16, "ff_mult": 2,
    "emb_dim": 512, "head_dim": 64, "num_embeds": 8193, "mel_dim": 80, "enc_emb_dim": 192,
    "enc_dim": 128, "enc_channels": [256, 256, 256, 256, 768], "enc_kernel_sizes": [5, 3, 3, 3, 1],
    "enc_attention_channels": 64, "enc_res2net_scale": 2, "enc_se_channels": 64,
}  # fmt: skip
BIGVGAN: dict[str, Any] = {
    "mel_dim": 80, "upsample_initial_channel": 1536, "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3, "upsample_rates": [5, 3, 2, 2, 2, 2],
    "upsample_kernel_sizes": [11, 7, 4, 4, 4, 4],
}  # fmt: skip


def test_what_speaks_is_left_out_with_its_share() -> None:
    # Qwen2_5OmniForConditionalGeneration of the defaults, transformers 5.23.0 on the meta device:
    # 18,386,365,824 in all, of which the thinker 11,338,288,896.
    thinker = {
        "model_type": "qwen2_5_omni_thinker",
        "vision_config": {"model_type": "qwen2_5_omni_vision_encoder"},
        "audio_config": {"model_type": "qwen2_5_omni_audio_encoder"},
        "text_config": {"model_type": "qwen2_5_omni_text"},
    }
    whole = {
        "model_type": "qwen2_5_omni", "thinker_config": thinker, "talker_config": TALKER,
        "token2wav_config": {"dit_config": DIT, "bigvgan_config": BIGVGAN},
    }  # fmt: skip
    found = spec_from_config(whole, source="omni", name="omni").spec
    assert found.left_out == (
        "speech decoder (talker_config of the config): 6,599,025,664 parameters",
        "vocoder (token2wav_config of the config): 449,051,264 parameters",
    )
    total = summarise(found).total
    assert total + 6_599_025_664 + 449_051_264 == 18_386_365_824
    # By the names of the first files, too.
    named = {"dim": DIT["hidden_size"], "depth": 22, "heads": 16}
    rest = {k: v for k, v in DIT.items() if not k.startswith(("hidden", "num_hidden", "num_att"))}
    again = whole | {"token2wav_config": {"dit_config": rest | named, "bigvgan_config": BIGVGAN}}
    assert spec_from_config(again, source="omni", name="omni").spec.left_out == found.left_out


@pytest.mark.parametrize(
    "talker",
    [{}, {"hidden_size": "wide"}, TALKER | {"head_dim": None}, TALKER | {"vocab_size": []}],
)
def test_a_talker_that_says_too_little_has_no_share(talker: dict[str, Any]) -> None:
    from kvcalc.convert.towers.speech_out import parameters_of

    assert parameters_of("talker_config", talker) is None
    assert parameters_of("talker_config", "a file") is None
    long = {"hidden_size": "a", "vocab_size": 10**12, "embedding_size": "a"}
    assert parameters_of("talker_config", long) is None


def test_a_towers_type_that_is_no_text_is_a_problem_of_the_file() -> None:
    wrong = {**SMALL, "vision_config": {**SMALL["vision_config"], "model_type": ["siglip"]}}
    with pytest.raises(SpecError, match=r"vision_config\.model_type: expected text"):
        spec_from_config(wrong, source="llava", name="llava")


TALKER_3: dict[str, Any] = {
    "thinker_hidden_size": 2048, "text_config": {
        "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 20, "vocab_size": 3072,
        "num_attention_heads": 16, "num_key_value_heads": 2, "moe_intermediate_size": 384,
        "num_local_experts": 128, "shared_expert_intermediate_size": 3072, "decoder_sparse_step": 1,
        "mlp_only_layers": []},
    "code_predictor_config": {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 5, "vocab_size": 2048,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "num_code_groups": 32},
}  # fmt: skip
CODE2WAV: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 8, "num_attention_heads": 16,
    "num_key_value_heads": 16, "codebook_size": 2048, "num_quantizers": 16, "decoder_dim": 1536,
    "upsample_rates": [8, 5, 4, 3], "upsampling_ratios": [2, 2],
}  # fmt: skip


def test_the_parts_of_qwen3_omni_that_speak() -> None:
    """Qwen3OmniMoeTalkerForConditionalGeneration and Qwen3OmniMoeCode2Wav of transformers 5.23.0, built
    on the meta device with these dimensions, the classes' own."""
    from kvcalc.convert.towers.speech_out import parameters_of

    assert parameters_of("talker_config", TALKER_3) == 3_486_074_624
    assert parameters_of("code2wav_config", CODE2WAV) == 216_016_577
    text = TALKER_3["text_config"]
    for other in ({"decoder_sparse_step": 2}, {"mlp_only_layers": [1]}, {"attention_bias": True}):
        changed = TALKER_3 | {"text_config": text | other}
        assert parameters_of("talker_config", changed) is None
    assert parameters_of("code2wav_config", CODE2WAV | {"upsample_rates": None}) is None
