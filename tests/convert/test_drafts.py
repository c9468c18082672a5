"""Configs of models that draft: every total is what the published class builds on the meta device.

SpecForge: sgl-project/SpecForge a6b6b023, configs/<name>.json and specforge/modeling/draft, its classes
without the token table, which it does not save (43 of its configs compared, all equal). speculators:
release 0.9.0, random small configs, what ``save_pretrained`` keeps.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.beside import beside_of
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.locate import locate
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.inventory import groups_of
from kvcalc.memory.weights import summarise
from kvcalc.spec.dump import dump
from kvcalc.spec.model import ModelSpec
from tests.convert.safetensors_files import save


def eagle3(width: int, inner: int, heads: int, kv: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": width,
        "intermediate_size": inner, "num_attention_heads": heads, "num_key_value_heads": kv,
        "num_hidden_layers": 1, "vocab_size": vocab, "draft_vocab_size": 32000,
        "attention_bias": False, "max_position_embeddings": 2048, "tie_word_embeddings": False,
    } | more  # fmt: skip


def block(name: str, width: int, inner: int, vocab: int, inside: dict[str, Any]) -> dict[str, Any]:
    ids = [1, 9, 17, 25, 33]
    return {
        "architectures": [name], "model_type": "qwen3", "hidden_size": width, "head_dim": 128,
        "intermediate_size": inner, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 5, "vocab_size": vocab, "num_target_layers": 36, "block_size": 16,
        "attention_bias": False, "max_position_embeddings": 40960, "tie_word_embeddings": False,
        "layer_types": ["full_attention"] * 5, "use_sliding_window": False, "sliding_window": None,
        "max_window_layers": 5, "dflash_config": {"mask_token_id": 1, "target_layer_ids": ids} | inside,
    }  # fmt: skip


MARKOV = {
    "markov_rank": 256, "markov_head_type": "vanilla", "enable_confidence_head": True,
    "confidence_head_with_markov": True, "projector_type": "dspark",
}  # fmt: skip
DOMINO = {"projector_type": "domino", "emb_dim": 256, "gru_hidden_dim": 1024}

SPECFORGE = [
    ("llama3-8B-eagle3", eagle3(4096, 14336, 32, 8, 128256), 424_689_664),
    ("llama3-70B-ealge3", eagle3(8192, 28672, 64, 8, 128256), 1_403_027_456),
    ("qwen3-8b-eagle3", eagle3(4096, 12288, 32, 8, 151936, head_dim=128), 399_523_840),
    ("phi4-eagle3", eagle3(5120, 17920, 40, 10, 100352, model_type="phi3"), 622_612_480),
    ("qwen3-30B-A3B-eagle3.1",
     eagle3(2048, 12288, 32, 4, 151936, head_dim=128, fc_norm=True, norm_output=True), 182_990_848),
    ("qwen3-8b-peagle",
     eagle3(4096, 12288, 32, 8, 151936, head_dim=128, num_hidden_layers=4,
            architectures=["PEagleDraftModel"]), 978_374_656),
    ("qwen3-8b-dflash", block("DFlashDraftModel", 4096, 12288, 151936, {}), 1_048_626_432),
    ("qwen3-8b-dspark", block("DSparkDraftModel", 4096, 12288, 151936, MARKOV), 1_126_422_017),
    ("qwen3-8b-domino", block("DominoDraftModel", 4096, 12288, 151936, DOMINO), 1_104_561_408),
    ("longcat-flash-dflash", block("DFlashDraftModel", 6144, 12288, 131072, {}), 1_635_853_568),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "total"), [row[1:] for row in SPECFORGE], ids=[row[0] for row in SPECFORGE]
)
def test_specforges_configs_are_its_classes(values: dict[str, Any], total: int) -> None:
    spec = spec_from_config(values, "draft", "config.json").spec
    assert summarise(spec).total == total


_LAYER = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 1000, "tie_word_embeddings": False,
}  # fmt: skip


def speculators(kind: str, model_type: str, layers: int, **more: Any) -> dict[str, Any]:
    inner = _LAYER | {"model_type": model_type, "num_hidden_layers": layers}
    return {
        "speculators_model_type": kind, "transformer_layer_config": inner, "draft_vocab_size": 300,
        "speculators_config": {"algorithm": kind}, "speculators_version": "0.9.0",
    } | more  # fmt: skip


AUX = {"aux_hidden_state_layer_ids": [1, 2, 4, 5], "mask_token_id": 3}
SPARK = AUX | {"markov_rank": 16}
SPECULATORS = [
    ("eagle3", speculators("eagle3", "llama", 1), 1_185_792),
    ("eagle3 of two layers", speculators("eagle3", "llama", 2, norm_before_fc=True,
     eagle_aux_hidden_state_layer_ids=[1, 2, 3, 4]), 1_809_920),
    ("eagle3 of Qwen3", speculators("eagle3", "qwen3", 1, fc_norm=True), 1_186_624),
    ("peagle", speculators("peagle", "llama", 3, mask_token_id=3), 2_301_696),
    ("dflash", speculators("dflash", "qwen3", 3, **AUX), 2_012_352),
    ("dflash with all tokens", speculators("dflash", "qwen3", 3, **AUX, draft_vocab_size=1000), 1_935_552),
    ("dspark", speculators("dspark", "qwen3", 3, **SPARK), 2_033_425),
    ("dspark, gated", speculators("dspark", "qwen3", 3, **SPARK, markov_head_type="gated"), 2_037_793),
    ("dspark, rnn", speculators("dspark", "qwen3", 3, **SPARK, markov_head_type="rnn"), 2_047_297),
    ("dspark, hidden alone", speculators("dspark", "qwen3", 3, **SPARK, draft_vocab_size=1000,
     confidence_head_with_markov=False), 1_967_809),
    ("dflash2", speculators("dflash2", "qwen3", 3, **AUX, draft_vocab_size=1000), 2_617_536),
    ("dflash2, other sizes", speculators("dflash2", "qwen3", 2, **AUX, draft_vocab_size=1000,
     conv_kernel_size=3, conv_group_size=32, selector_rank=24), 1_487_360),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "total"), [row[1:] for row in SPECULATORS], ids=[row[0] for row in SPECULATORS]
)
def test_speculators_configs_are_its_classes(values: dict[str, Any], total: int) -> None:
    spec = spec_from_config(values, "draft", "config.json").spec
    assert summarise(spec).total == total


DEEPSEEK = {
    "architectures": ["Eagle3DeepseekV2ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 256,
    "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8,
    "num_hidden_layers": 1, "vocab_size": 1024, "draft_vocab_size": 512, "q_lora_rank": 96,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "tie_word_embeddings": False,
    "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "total"),
    [
        ({}, 2_787_424),
        ({"num_hidden_layers": 2, "q_lora_rank": None}, 5_623_040),
        ({"fc_norm": True}, 2_788_192),
    ],
)
def test_eagle3_of_latent_attention_is_vllms_class(more: dict[str, Any], total: int) -> None:
    """vLLM 0.33's Eagle3DeepseekV2ForCausalLM on the meta device: beside what a checkpoint has, the token
    table of 1,024 * 256 and 512 entries of draft_id_to_target_id."""
    spec = spec_from_config(DEEPSEEK | more, "draft", "config.json").spec
    assert summarise(spec).total + 1024 * 256 + 512 == total


# EAGLE's README: 0.25B parameters for LLaMA3-Instruct 8B, 0.99B for 70B, without the copied table.
@pytest.mark.parametrize(
    ("width", "inner", "heads", "total"),
    [(4096, 14336, 32, 251_662_336), (8192, 28672, 64, 989_863_936)],
)
def test_an_eagle_head_has_what_its_readme_says(
    width: int, inner: int, heads: int, total: int
) -> None:
    layers = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width,
        "intermediate_size": inner, "num_attention_heads": heads, "num_key_value_heads": 8,
        "num_hidden_layers": 1, "vocab_size": 128256, "attention_bias": False,
    }  # fmt: skip
    for values in (
        {"model_type": "eagle", "model": layers},
        layers | {"architectures": ["EagleLlamaForCausalLM"]},
    ):
        spec = spec_from_config(values, "draft", "config.json").spec
        assert summarise(spec).total - 128256 * width == total


@pytest.mark.parametrize(
    ("values", "total"),
    [
        # FasterDecoding/medusa-vicuna-7b-v1.3: 5 heads of 4096^2 + 4096 and a matrix of 32,000 rows.
        ({"model_type": "medusa", "medusa_num_heads": 5, "medusa_num_layers": 1, "hidden_size": 4096,
          "vocab_size": 32000, "base_model_name_or_path": "lmsys/vicuna-7b-v1.3"}, 739_266_560),
        # vLLM 0.25, MedusaModel without biases and with one head for all.
        ({"model_type": "medusa", "architectures": ["MedusaModel"], "num_heads": 3, "hidden_size": 64,
          "num_hidden_layers": 2, "vocab_size": 500, "original_lm_head": True, "medusa_fc_bias": False,
          "truncated_vocab_size": 100}, 30_976),
        # vLLM 0.25, MLPSpeculator: 4 tables and heads of 128,256 x 3,072; tied: one of each.
        ({"model_type": "mlp_speculator", "emb_dim": 4096, "inner_dim": 3072, "n_predict": 4,
          "vocab_size": 128256, "tie_weights": False, "scale_input": True}, 3_192_938_496),
        ({"model_type": "mlp_speculator", "emb_dim": 4096, "inner_dim": 3072, "n_predict": 4,
          "vocab_size": 128256, "tie_weights": True, "scale_input": True}, 810_031_104),
    ],
)  # fmt: skip
def test_heads_alone(values: dict[str, Any], total: int) -> None:
    spec = spec_from_config(values, "draft", "config.json").spec
    assert summarise(spec).total == total
    assert not spec.layers


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (eagle3(256, 512, 8, 2, 1000, architectures=["EagleCohereForCausalLM"]), "EagleCohere"),
        (speculators("mtp", "qwen3", 1), "speculators_model_type"),
        (speculators("dflash2", "qwen3", 1, **AUX, conv_group_size=24), "conv_group_size"),
        (speculators("dflash2", "qwen3", 1, **AUX), "draft_vocab_size"),
        (block("DSparkDraftModel", 256, 512, 1000, {}), "markov_rank"),
        (block("DFlashDraftModel", 256, 512, 1000, DOMINO), "projector"),
        (
            block("DFlashDraftModel", 256, 512, 1000, {"target_layer_ids": ["a"]}),
            "target_layer_ids",
        ),
        (
            block("DFlashDraftModel", 256, 512, 1000, {"target_layer_ids": [1, 37]}),
            "layer 37 of a model of 36",
        ),
        (
            block("DFlashDraftModel", 256, 512, 1000, {"aux_hidden_state_layer_ids": [1, 2]}),
            "target_layer_ids: 5 layers, and dflash_config.aux_hidden_state_layer_ids has 2",
        ),
        (block("DFlashDraftModel", 256, 512, 1000, {}) | {"block_size": -1}, "block_size"),
        (
            eagle3(256, 512, 8, 2, 1000, eagle_config={"eagle_aux_hidden_state_layer_ids": 3}),
            "expected a list",
        ),
        (eagle3(256, 512, 8, 2, 1000, new_state_size=3), "new_state_size"),
        ({"model_type": "medusa", "hidden_size": 64, "vocab_size": 9}, "num_heads"),
    ],
)
def test_what_is_not_accounted_for_is_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(KvcalcError, match=said):
        spec_from_config(values, "draft", "config.json")


GEMMA: dict[str, Any] = {
    "model_type": "gemma4_assistant", "backbone_hidden_size": 640,
    "text_config": {
        "model_type": "gemma4_text", "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64,
        "global_head_dim": 128, "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "sliding_window": 128, "vocab_size": 1024, "num_kv_shared_layers": 4,
        "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "total"),
    [
        (GEMMA, 2_986_560),
        (GEMMA | {"use_ordered_embeddings": True, "num_centroids": 64}, 3_002_944),
    ],
)
def test_gemma_4s_assistants_are_transformers_class(values: dict[str, Any], total: int) -> None:
    """Gemma4AssistantForCausalLM of transformers 5.23, all of whose layers read the model's K and V."""
    spec = spec_from_config(values, "draft", "config.json").spec
    assert summarise(spec).total == total
    assert not groups_of(spec)
    for key, value in (("tie_word_embeddings", False), ("text_config", {})):
        with pytest.raises(KvcalcError, match=key):
            spec_from_config(values | {key: value}, "draft", "config.json")
    inner = values["text_config"] | {"enable_moe_block": True}
    with pytest.raises(KvcalcError, match="enable_moe_block"):
        spec_from_config(values | {"text_config": inner}, "draft", "config.json")


def test_an_assistants_layers_say_whose_cache_they_read() -> None:
    from kvcalc import load_spec_text

    text = dump(spec_from_config(GEMMA, "draft", "config.json").spec)
    assert load_spec_text(text).draft is not None
    for other in ("", ", shared_kv: local"):
        with pytest.raises(KvcalcError, match="shared_kv"):
            load_spec_text(text.replace(", shared_kv: target", other))


def test_windows_of_a_draft_are_its_layers() -> None:
    values = block("DFlashDraftModel", 256, 512, 1000, {"swa_window_size": 128})
    values |= {
        "layer_types": ["sliding_attention"] * 4 + ["full_attention"],
        "sliding_window": 4096,
    }
    spec = spec_from_config(values, "draft", "config.json").spec
    windows = {block.sliding_window for block in spec.blocks.values()}
    assert windows == {128, None}


def test_a_draft_is_written_and_read_again() -> None:
    from kvcalc import load_spec_text

    for _, values, _ in SPECFORGE[::4]:
        spec = spec_from_config(values, "draft", "config.json").spec
        assert load_spec_text(dump(spec)) == spec


def _file(folder: Path, spec: ModelSpec, more: dict[str, tuple[str, list[int]]]) -> None:
    from kvcalc.memory.inventory import parameter_groups

    tensors = {
        group.prefix.format(layer) + tensor.name: ("BF16", list(tensor.shape))
        for group in parameter_groups(spec)
        for layer in group.layers or (0,)
        for tensor in group.tensors
        if not tensor.buffer
    }
    save(folder / "model.safetensors", tensors | more)


def test_a_file_says_whose_the_token_table_is(tmp_path: Path) -> None:
    values = eagle3(64, 96, 4, 2, 1000, draft_vocab_size=300)
    spec = spec_from_config(values, "draft", "config.json").spec
    (tmp_path / "config.json").write_text(json.dumps(values), "utf-8")
    tables = {"d2t": ("I64", [300]), "t2d": ("BOOL", [1000])}
    _file(tmp_path, spec, tables | {"embed_tokens.weight": ("BF16", [1000, 64])})
    found = locate(str(tmp_path))
    assert summarise(found.spec).total == summarise(spec).total + 64_000
    assert found.weights is not None
    assert found.weights.bytes == 2 * summarise(found.spec).total
    _file(tmp_path, spec, {"hidden.weight": ("BF16", [7, 7])})
    with pytest.raises(UnsupportedError, match="hidden"):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ngram", "without weights and without a cache"),
        ("suffix", "without weights and without a cache"),
        ("draft-mtp", "--mtp-layers N"),
        ("eagle3", "a way to draft, and no model"),
    ],
)
def test_a_way_to_draft_is_no_model(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        beside_of(word)
