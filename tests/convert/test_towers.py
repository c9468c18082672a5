"""Multimodal configs with their towers, held to transformers' totals."""

from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import SpecError
from kvcalc.memory.weights import summarise

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
    found = spec_from_config(changed(model_type="resnet"), "qwen", "a test")
    [name] = found.spec.left_out
    assert "'resnet' is not accounted for" in name


@pytest.mark.parametrize("vision", [{"depth": -1}, {"hidden_size": "wide"}, {"num_heads": 7}])
def test_a_wrong_tower_is_an_error(vision: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="vision_config"):
        spec_from_config(changed(**vision), "qwen", "a test")
