"""What the importer refuses, and that the message names the field."""

from typing import Any

import pytest

from kvcalc.convert.config import Config
from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import KvcalcError, SpecError, UnsupportedError
from tests.convert.measured import drawn

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "vocab_size": 32000, "tie_word_embeddings": False, "max_position_embeddings": 4096,
}  # fmt: skip
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 128}


def convert(config: Any) -> Any:
    return spec_from_config(config, "model", "config.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llamma"}, ["llamma", "llama", "by hand"]),
        ({"model_type": "brand_new"}, ["brand_new", "by hand"]),
        ({"num_experts": 8}, ["num_experts", "by hand"]),  # no such field in LlamaConfig
        ({"sliding_window": 4096}, ["sliding_window"]),  # Llama has none: a fork's config
        ({"layer_types": ["full_attention"] * 32}, ["layer_types"]),
        ({"kv_lora_rank": 512}, ["kv_lora_rank"]),
    ],
)
def test_unaccounted_fields_are_unsupported(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UnsupportedError) as error:
        convert(LLAMA | change)
    assert all(word in error.value.message for word in words)


def test_a_slip_of_a_field_is_told_what_it_means() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    with pytest.raises(
        UnsupportedError, match=r"field \(did you mean num_key_value_heads\?\), and"
    ):
        convert(config | {"num_key_value_head": 8})
    with pytest.raises(UnsupportedError) as error:  # what is there is not meant again
        convert(LLAMA | {"num_key_value_head": 8})
    assert "did you mean" not in error.value.message


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (QWEN3 | {"layer_types": ["ring_attention"] * 32}, "layer_types"),
        ({"model_type": "bert", "is_decoder": True}, "is_decoder"),
        ({"model_type": "albert", "num_hidden_groups": 33}, "num_hidden_groups"),
        ({"model_type": "xlstm", "use_bias": True}, "use_bias"),
    ],
)
def test_known_fields_with_unaccounted_values(config: dict[str, Any], field: str) -> None:
    config = {**LLAMA, "embedding_size": 64, "type_vocab_size": 2, "num_heads": 8, **config}
    for key in {"num_key_value_heads"} if config["model_type"] != "qwen3" else set():
        config.pop(key)
    with pytest.raises(UnsupportedError) as error:
        convert(config)
    assert field in error.value.message


# transformers 5.23 builds the second number of each: one field under two names (attribute_map, or a rule of
# the class), the one that is set last.
@pytest.mark.parametrize(
    ("model_type", "first", "again"),
    [
        ("deepseek_v3", {"n_routed_experts": 8}, {"num_local_experts": 16}),
        ("deepseek_v32", {"n_routed_experts": 8}, {"num_experts": 16}),
        ("bart", {"encoder_layers": 2}, {"num_hidden_layers": 4}),
        ("glm4_moe_lite", {"qk_rope_head_dim": 64}, {"head_dim": 32}),
        ("xlstm", {"hidden_size": 128}, {"embedding_dim": 64}),
        ("longcat_flash", {"num_layers": 2}, {"num_hidden_layers": 6}),
        ("longcat_flash", {}, {"router_bias": True}),
        ("zamba2", {}, {"attention_head_dim": 64}),
    ],
)
def test_a_field_that_is_said_twice(
    model_type: str, first: dict[str, Any], again: dict[str, Any]
) -> None:
    config = drawn(model_type, 0) | first
    convert(config)
    [key] = again
    with pytest.raises(UnsupportedError, match=key):
        convert(config | again)


def test_an_older_name_of_the_experts_alone() -> None:
    """transformers 5.23, DeepseekV32Config.__post_init__: num_experts is n_routed_experts."""
    config = drawn("deepseek_v32", 0)
    number = config.pop("n_routed_experts")
    again = convert(config | {"num_experts": number}).spec
    assert again.blocks == convert(config | {"n_routed_experts": number}).spec.blocks


@pytest.mark.parametrize(
    "key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
)
def test_a_flat_config_has_no_default_identity(key: str) -> None:
    with pytest.raises(SpecError) as error:
        convert({name: value for name, value in LLAMA.items() if name != key})
    assert error.value.problems[0].field == key
    assert "required and missing" in error.value.message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hidden_size": "4096"}, "hidden_size"),
        ({"hidden_size": 4096.0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": -4096}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": float("nan")}, "hidden_size"),
        ({"hidden_size": [4096]}, "hidden_size"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers"),
        ({"num_hidden_layers": 4097}, "num_hidden_layers"),
        ({"vocab_size": 10**30}, "vocab_size"),
        ({"attention_bias": "yes"}, "attention_bias"),
        ({"attention_bias": 1}, "attention_bias"),
        ({"num_attention_heads": 33}, "hidden_size"),
        ({"num_key_value_heads": 5}, "num_key_value_heads"),
        ({"num_key_value_heads": 64}, "num_key_value_heads"),
        ({"torch_dtype": "float7"}, "torch_dtype"),
        ({"torch_dtype": 16}, "torch_dtype"),
        ({"quantization_config": "awq"}, "quantization_config"),
    ],
)
def test_wrong_values_are_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as error:
        convert(LLAMA | change)
    assert error.value.problems[0].field == field


@pytest.mark.parametrize(
    "config", [None, 5, [], "llama", {}, {"model_type": 5}, {"model_type": ""}]
)
def test_what_is_no_config(config: Any) -> None:
    with pytest.raises(KvcalcError):
        convert(config)


def test_layer_lists_have_the_length_of_the_stack() -> None:
    with pytest.raises(SpecError, match="31 entries for 32 layers"):
        convert(QWEN3 | {"layer_types": ["full_attention"] * 31})


def test_sliding_layers_need_a_window() -> None:
    with pytest.raises(SpecError, match="sliding_window"):
        convert(QWEN3 | {"layer_types": ["sliding_attention"] * 32})


def test_class_defaults_are_assumptions() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    found = convert(config | {"some_note": 1, "use_cache": True})
    assert "num_key_value_heads = 32: not in the file; as many as query heads" in found.assumptions
    assert (
        "attention_bias = false: not in the file; the default of transformers' LlamaConfig"
        in found.assumptions
    )
    assert "ignored key 'some_note'" in found.assumptions
    assert not any("use_cache" in assumption for assumption in found.assumptions)


def test_nested_configs_are_written_as_differences() -> None:
    # google/gemma-3-4b-it names nine keys of its language model; the rest are the class's.
    text = {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
        "num_hidden_layers": 34, "sliding_window": 1024,
    }  # fmt: skip
    found = convert({"model_type": "gemma3", "text_config": text, "vision_config": {"depth": 27}})
    # No tower of the class has a depth.
    attention = found.spec.blocks["local"].attention
    assert (attention.num_attention_heads, attention.num_key_value_heads) == (8, 4)
    assert found.spec.vocab_size == 262208
    [name] = found.spec.left_out
    assert name.startswith("vision tower (vision_config of the config); vision_config.depth = 27: ")
    assert "text_config.num_attention_heads = 8: not in the file; the default of transformers' " \
        "Gemma3TextConfig" in found.assumptions  # fmt: skip


def test_a_key_that_no_family_reads_is_never_lost() -> None:
    reader = Config({"model_type": "llama", "rope_theta": 1, "num_experts": 0}, "llama")
    reader.finish()
    reader = Config({"model_type": "llama", "num_experts": 4}, "llama")
    with pytest.raises(UnsupportedError, match="num_experts"):
        reader.finish()


@pytest.mark.parametrize(
    ("model_type", "lacks"),
    [("dory", "nGPT"), ("hy_v4_vl_text", "hyper-connections"), ("inkling2_loop_text", "gates")],
)
def test_a_type_that_cannot_be_said_is_refused_with_what_is_missing(
    model_type: str, lacks: str
) -> None:
    with pytest.raises(UnsupportedError, match=f"'{model_type}' cannot be said .* lacks .*{lacks}"):
        spec_from_config({"model_type": model_type, "hidden_size": 64}, "x", "x")
