"""Random configs of every model type import to the parameters that transformers 5.23 builds.

Dimensions, flags and layer patterns are drawn per type (draws.py), so nothing rests on the published
sizes. The models were built on the meta device; their totals stand in measured.json (measured.py writes
it) and are compared to the parameter.
"""

import pytest

from kvcalc.convert.config import class_defaults
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS, OUTSIDE
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers.caches import accounting
from kvcalc.memory.cache import compile_groups
from kvcalc.memory.weights import summarise
from tests.convert.measured import NUM_DRAWS, SECTIONS, drawn, inside, row_of


@pytest.mark.parametrize("model_type", CONVERTERS)
def test_parameters_are_those_that_transformers_builds(model_type: str) -> None:
    for seed in range(NUM_DRAWS):
        config = drawn(model_type, seed)
        spec = spec_from_config(config, "drawn", "draws.py").spec
        built = row_of("drawn", model_type, seed)[1]
        # transformers ties T5's head whatever the file says; the checkpoint's own is counted.
        if model_type in ("t5", "mt5", "umt5", "longt5") and not spec.tie_word_embeddings:
            built += spec.vocab_size * spec.hidden_size
        if model_type == "molmo2_text":
            # Its head, which is never tied, stands in the multimodal class alone.
            built += spec.vocab_size * spec.hidden_size
        # Towers that stand inside the language model are measured apart (test_towers_measured.py).
        assert summarise(spec).language_model == built, config


# transformers 5.23 allocates gate and up matrices for identity experts; the model has none. Built on
# the meta device, the draw of seed 0 has 192,112 parameters with one identity expert, 201,712 with three.
@pytest.mark.parametrize(("zero_experts", "built"), [(1, 192_112), (3, 201_712)])
def test_longcat_counts_no_weights_for_identity_experts(zero_experts: int, built: int) -> None:
    config = drawn("longcat_flash", 0) | {"zero_expert_num": zero_experts}
    unused = 2 * zero_experts * config["expert_ffn_hidden_size"] * config["hidden_size"] * 3
    found = spec_from_config(config, "drawn", "draws.py")
    assert summarise(found.spec).total == built - unused
    assert any("identity experts" in assumption for assumption in found.assumptions)


@pytest.mark.parametrize("model_type", SECTIONS["inside"][0])
def test_language_models_inside_multimodal_ones(model_type: str) -> None:
    for seed in range(NUM_DRAWS):
        config = inside(model_type, seed)
        found = spec_from_config(config, "drawn", "draws.py")
        language = summarise(found.spec).language_model
        assert language == row_of("inside", model_type, seed)[1], config
        assert found.spec.left_out or found.spec.towers


@pytest.mark.parametrize("model_type", OUTSIDE)
def test_types_of_remote_code_convert_as_the_type_they_follow(model_type: str) -> None:
    config = drawn(OUTSIDE[model_type], 1)
    own = spec_from_config(config | {"model_type": model_type}, "drawn", "draws.py").spec
    assert (
        summarise(own).total == summarise(spec_from_config(config, "drawn", "draws.py").spec).total
    )
    assert own.model_type == model_type


# transformers 5.24.0, the types that it brought: the class's own defaults, built on the meta device, and
# the bytes of the cache after 64 tokens in bf16.
@pytest.mark.parametrize(
    ("model_type", "parameters", "cache_bytes"),
    [
        ("apertus1p5_text", 8_091_086_912, 33_554_432),
        ("lara_mini", 7_281_684_672, 17_760_256),
        ("sarvam_mla", 106_031_763_456, 2_359_296),
        ("sarvam_moe", 32_152_648_064, 1_245_184),
    ],
)
def test_the_defaults_of_new_types(model_type: str, parameters: int, cache_bytes: int) -> None:
    config = {"model_type": model_type, **class_defaults()[model_type]["defaults"]}
    spec = spec_from_config(config, "default", "test").spec
    bf16 = CacheDtypes()
    assert summarise(spec).total == parameters
    assert compile_groups(accounting(spec, bf16).groups, bf16).at(64) == cache_bytes
