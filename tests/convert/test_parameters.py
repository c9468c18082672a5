"""Random configs of every model type import to the parameters that transformers 5.23 builds.

Dimensions, flags and layer patterns are drawn per type (draws.py), so nothing rests on the published
sizes. The model is built on the meta device; the totals are compared to the parameter.
"""

import pytest

pytest.importorskip("transformers")

from kvcalc.convert.hf import class_defaults, spec_from_config
from kvcalc.convert.model_types import CONVERTERS, OUTSIDE, TEXT_CONFIGS
from kvcalc.memory.weights import summarise
from tests.convert.draws import draw
from tests.convert.oracle import build, language_model_parameters

pytestmark = [pytest.mark.hf, pytest.mark.filterwarnings("ignore")]

NUM_DRAWS = 3


def fields(model_type: str) -> dict[str, object]:
    found: dict[str, object] = class_defaults()[model_type]["defaults"]
    return found


@pytest.mark.parametrize("model_type", CONVERTERS)
def test_parameters_are_those_that_transformers_builds(model_type: str) -> None:
    for seed in range(NUM_DRAWS):
        config = draw(model_type, seed, fields(model_type))
        # Phi-4-multimodal's towers stand inside its language model.
        expected = sum(
            parameter.numel()
            for name, parameter in build(config).named_parameters()
            if "embed_tokens_extend" not in name
        )
        spec = spec_from_config(config, "drawn", "draws.py").spec
        assert summarise(spec).total == expected, config


# transformers allocates gate and up matrices for identity experts; the model has none.
@pytest.mark.parametrize("zero_experts", [1, 3])
def test_longcat_counts_no_weights_for_identity_experts(zero_experts: int) -> None:
    config = draw("longcat_flash", 0, fields("longcat_flash")) | {"zero_expert_num": zero_experts}
    built = sum(parameter.numel() for parameter in build(config).parameters())
    unused = 2 * zero_experts * config["expert_ffn_hidden_size"] * config["hidden_size"] * 3
    found = spec_from_config(config, "drawn", "draws.py")
    assert summarise(found.spec).total == built - unused
    assert any("identity experts" in assumption for assumption in found.assumptions)


# Towers that need a package beside transformers or a config of their own: (type, why).
UNBUILDABLE = {
    "audioflamingo3": "no Auto class",
    "aya_vision": "the default vision config does not build",
    "emu3": "needs a vocabulary map",
    "fast_vlm": "needs timm",
    "florence2": "one table for all, and a file that says otherwise is refused",
    "gemma3n": "needs timm",
    "granite4_vision": "needs a list of layers",
    "granite_docling": "the vision config must agree with the text's",
    "nemotron_h_omni": "the head is never tied, and a file that says otherwise is refused",
    "ovis2": "reads hidden_size and vocab_size at the top",
    "perception_lm": "needs timm",
    "qwen2_5_omni": "holds qwen2_5_omni_thinker",
    "qwen3_omni_moe": "holds qwen3_omni_moe_thinker",
}


@pytest.mark.parametrize("model_type", [name for name in TEXT_CONFIGS if name not in UNBUILDABLE])
def test_language_models_inside_multimodal_ones(model_type: str) -> None:
    key, text_type, _ = TEXT_CONFIGS[model_type]
    for seed, tie in enumerate((None, True, False)):
        text = draw(text_type, seed, fields(text_type))
        config = {"model_type": model_type, key: text}
        if tie is not None:
            config["tie_word_embeddings"] = tie
        found = spec_from_config(config, "drawn", "draws.py")
        assert summarise(found.spec).total == language_model_parameters(model_type, text, tie)
        assert found.spec.left_out


@pytest.mark.parametrize("model_type", OUTSIDE)
def test_types_of_remote_code_convert_as_the_type_they_follow(model_type: str) -> None:
    inner = OUTSIDE[model_type]
    config = draw(inner, 1, fields(inner))
    own = spec_from_config(config | {"model_type": model_type}, "drawn", "draws.py").spec
    assert (
        summarise(own).total == summarise(spec_from_config(config, "drawn", "draws.py").spec).total
    )
    assert own.model_type == model_type
