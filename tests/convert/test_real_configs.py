"""Published configs import to the exact parameters and bytes per token of the published models.

real_configs.json holds each config.json without the keys that change nothing (rope, dropout, ids),
the address it is published at, the parameters that transformers 5.23 builds of it on the meta
device, and the bytes that one more bf16 token adds, measured on its cache.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.write import spec_text, with_expect
from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.cache import cache_function
from kvcalc.memory.inventory import mtp_groups
from kvcalc.memory.towers import language_model_of
from kvcalc.memory.weights import count_parameters, summarise
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.model import ModelSpec

CASES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("real_configs.json").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_totals(case: dict[str, Any]) -> None:
    spec = spec_from_config(case["config"], case["name"], case["source"]).spec
    assert summarise(spec).total == case["parameters"]
    if case["cache_bytes_per_token"] is not None:
        assert cache_function(spec, CacheDtypes()).slope == case["cache_bytes_per_token"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_written_specs_load_to_the_same_spec(case: dict[str, Any]) -> None:
    found = spec_from_config(case["config"], case["name"], case["source"])
    text = spec_text(found)
    assert load_spec_text(text) == with_expect(found.spec)
    # A hybrid of sixty layers reads in under forty lines, the assumptions aside.
    assert len([line for line in text.splitlines() if not line.startswith("#")]) < 40


def layers_of(name: str) -> list[tuple[int, tuple[str, ...]]]:
    case = next(case for case in CASES if case["name"] == name)
    spec = spec_from_config(case["config"], name, case["source"]).spec
    return [(group.repeat, group.names) for group in spec.layers]


def test_layers_are_grouped_as_a_person_would() -> None:
    local, full = "local", "global"
    assert layers_of("llama-3.1-8b") == [(32, ("decoder",))]
    assert layers_of("gemma-3-1b") == [(4, (local,) * 5 + (full,)), (2, (local,))]
    assert layers_of("gpt-oss-20b") == [(12, (local, full))]
    assert layers_of("deepseek-v3") == [(3, ("dense",)), (58, ("moe",))]
    assert layers_of("qwen3.5-27b") == [(16, ("deltanet", "deltanet", "deltanet", "attention"))]
    assert layers_of("recurrentgemma-2b") == [
        (8, ("recurrent", "recurrent", "attention")), (2, ("recurrent",)),
    ]  # fmt: skip
    # hybrid_override_pattern of the model's own config.
    assert "".join(layers_of("nemotron-3-nano")[0][1]) == (
        "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
    )


def imported(name: str) -> ModelSpec:
    case = next(case for case in CASES if case["name"] == name)
    return spec_from_config(case["config"], name, case["source"]).spec


# DeepSeek-V3: the values of its bf16 checkpoint beyond the trunk (kvcalc/stack/mtp.py). GLM-4.5 and
# Qwen3.5-27B: the shipped specs'.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("deepseek-v3", 13_463_426_048), ("deepseek-v3.2", 13_477_385_472),
     ("qwen3.5-27b", 424_699_392)],
)  # fmt: skip
def test_multi_token_prediction_is_counted_apart(name: str, parameters: int) -> None:
    spec = imported(name)
    assert count_parameters(mtp_groups(spec)) == parameters
    assert not any("multi-token" in part for part in spec.left_out)


def test_mimo_predicts_with_a_layer_like_its_others() -> None:
    # XiaomiMiMo/MiMo-7B-Base, config.json. A layer of Qwen2 has 177,223,680 parameters here, and
    # vLLM's mimo_mtp.py puts input_proj of 2 * 4096^2 and three norms of 4096 around one.
    config = {
        "model_type": "mimo", "hidden_size": 4096, "intermediate_size": 11008, "vocab_size": 151680,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "attention_bias": True, "num_nextn_predict_layers": 1,
        "tie_word_embeddings": False, "use_sliding_window": False,
    }  # fmt: skip
    spec = spec_from_config(config, "mimo-7b", "config.json").spec
    assert summarise(spec).total == 7_622_619_136
    assert count_parameters(mtp_groups(spec)) == 177_223_680 + 33_566_720


def test_modules_that_no_published_file_holds_are_said_so() -> None:
    """MiniMax-M2's page says 229 B parameters: the trunk's 228.7; three modules would be 11 B more."""
    config = _MOE | {"model_type": "minimax_m2", "num_local_experts": 4, "num_mtp_modules": 3}
    spec = spec_from_config(config, "small", "config.json").spec
    said = "3 multi-token-prediction layers, which the published files do not hold"
    assert (spec.mtp, spec.left_out) == (None, (said,))


_MOE = {
    "hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 100, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 96, "num_experts_per_tok": 2,
    "tie_word_embeddings": False,
}  # fmt: skip


def test_mtp_layers_whose_tensors_are_not_known_are_named() -> None:
    config = _MOE | {"model_type": "exaone_moe", "num_nextn_predict_layers": 1, "num_experts": 4,
                     "moe_intermediate_size": 32}  # fmt: skip
    spec = spec_from_config(config, "small", "config.json").spec
    assert "1 multi-token-prediction layer" in spec.left_out


@pytest.mark.parametrize(
    ("name", "total"), [("longcat-flash", 561_862_880_256), ("step-3.7-flash", 199_384_301_376)]
)
def test_a_model_and_its_mtp_layers_are_the_published_sum(name: str, total: int) -> None:
    """The safetensors totals of meituan-longcat/LongCat-Flash-Chat and stepfun-ai/Step-3.5-Flash (the
    language model of 3.7), router biases included."""
    spec = load(name)
    summary = summarise(spec)
    apart = count_parameters(mtp_groups(spec))
    assert summary.language_model + summary.buffers + apart == total


_SMALL = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "head_dim": 32,
    "vocab_size": 1024, "num_hidden_layers": 4, "tie_word_embeddings": False, "sliding_window": 64,
    "moe_intermediate_size": 64,
}  # fmt: skip
_DENSE = {key: value for key, value in _SMALL.items()
          if key not in ("sliding_window", "moe_intermediate_size")}  # fmt: skip
# vLLM 0.33's own MTP classes on the meta device, without its tables, of small drawn configs.
SMALL_MODULES = [
    ("deepseek_v4", {
        "num_hidden_layers": 3, "hidden_size": 48, "vocab_size": 64, "num_attention_heads": 4,
        "head_dim": 32, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 6, "sliding_window": 8,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 42,
        "n_shared_experts": 1, "hc_mult": 4, "compress_ratios": [0, 4, 128, 0],
        "num_hash_layers": 1, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 8,
        "tie_word_embeddings": False,
    }, 51_131 - 60),  # vLLM pads the four sinks to 64
    ("ernie4_5_moe", {
        "num_hidden_layers": 3, "hidden_size": 96, "vocab_size": 128, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 28, "moe_num_experts": 4,
        "moe_k": 2, "moe_intermediate_size": 20, "use_bias": False, "tie_word_embeddings": True,
    }, 51_456),
    ("step3p5", _SMALL | {
        "num_attention_groups": 4, "layer_types": ["full_attention"] + ["sliding_attention"] * 6,
        "moe_layers_enum": "2,3", "moe_num_experts": 8, "moe_top_k": 2, "share_expert_dim": 64,
        "num_nextn_predict_layers": 3, "attention_other_setting": {
            "attention_type": "sliding_attention", "num_attention_heads": 12,
            "num_attention_groups": 4, "head_dim": 32, "true_head_dim": 32},
        "use_head_wise_attn_gate": True, "use_moe_router_bias": True,
    }, 2_372_544 + 3 * 1024 * 256),  # three modules, and the head that each of them keeps
    ("exaone_moe", _SMALL | {
        "num_key_value_heads": 4, "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "sliding_window_pattern": 4, "first_k_dense_replace": 1, "num_experts": 8,
        "num_experts_per_tok": 2, "num_shared_experts": 1,
    }, 722_240),
    ("bailing_hybrid", _SMALL | {
        "num_key_value_heads": 8, "sliding_window": None, "num_experts": 8, "num_experts_per_tok": 2,
        "num_shared_experts": 1, "first_k_dense_replace": 1, "layer_group_size": 4, "kv_lora_rank": 64,
        "q_lora_rank": 96, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
        "short_conv_kernel_size": 4,
    }, 759_208 - 8),  # without the router's bias
    ("glm_ocr", {"text_config": _DENSE | {
        "model_type": "glm_ocr_text", "num_key_value_heads": 4, "num_nextn_predict_layers": 1,
    }, "vision_config": {}}, 1_246_976),  # with the table and the head, which its file holds
    ("mimo_v2_flash", _SMALL | {
        "num_key_value_heads": 4, "v_head_dim": 16, "swa_num_attention_heads": 8, "swa_head_dim": 32,
        "swa_num_key_value_heads": 8, "swa_v_head_dim": 16, "n_routed_experts": 8,
        "num_experts_per_tok": 2,
    }, 722_184),
    ("exaone4_5", {"text_config": _DENSE | {
        "model_type": "exaone4", "num_key_value_heads": 4, "sliding_window": 64,
        "sliding_window_pattern": 4,
        "num_nextn_predict_layers": 1,
    }, "vision_config": {}}, 722_240),
    ("hy_v3", _DENSE | {
        "num_key_value_heads": 4, "moe_intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2,
        "num_shared_experts": 1,
    }, 773_440),  # without the router's bias
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values", "parameters"), SMALL_MODULES, ids=[row[0] for row in SMALL_MODULES]
)
def test_modules_are_vllms_classes(kind: str, values: dict[str, Any], parameters: int) -> None:
    config = {"model_type": kind, "num_nextn_predict_layers": 1} | values
    spec = spec_from_config(config, "small", "config.json").spec
    assert count_parameters(mtp_groups(spec)) == parameters


SHIPPED = [case for case in CASES if case["name"] in shipped()]


@pytest.mark.parametrize("case", SHIPPED, ids=[case["name"] for case in SHIPPED])
def test_shipped_specs_agree_with_the_importer(case: dict[str, Any]) -> None:
    ours, imported = load(case["name"]), spec_from_config(case["config"], "x", "y").spec
    # These configs hold the language model's keys alone.
    assert summarise(language_model_of(ours)[0]) == summarise(imported)
    dtypes = CacheDtypes()
    for tokens in (1, 100, 5000, 200_000):
        assert cache_function(ours, dtypes).at(tokens, 100) == cache_function(imported, dtypes).at(
            tokens, 100
        )
