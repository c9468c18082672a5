"""Configs that a class allows and no published model has: totals of transformers 5.23's own models.

Every number is the sum of the parameters of the model that transformers builds from the config on
the meta device, tied tensors once.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.locate import locate
from kvcalc.errors import NotFoundError, UnsupportedError
from kvcalc.memory.weights import summarise
from tests.convert.measured import drawn

T5: dict[str, Any] = {
    "vocab_size": 64, "d_model": 48, "d_kv": 4, "d_ff": 72, "num_layers": 3,
    "num_decoder_layers": 5, "num_heads": 4,
}  # fmt: skip
BERT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40,
}  # fmt: skip
BASE = {"vocab_size": 50265}
LLAMA: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": False,
}  # fmt: skip

CONFIGS: list[tuple[dict[str, Any], int]] = [
    # is_gated_act, where the file states it, wins over feed_forward_proj.
    (T5 | {"model_type": "mt5", "is_gated_act": False}, 99_664),
    (T5 | {"model_type": "t5", "is_gated_act": True}, 127_312),
    # A stated step wins over the number of sparse layers.
    (T5 | {"model_type": "switch_transformers", "num_experts": 4, "encoder_sparse_step": 2,
           "decoder_sparse_step": 0}, 120_592),
    # xIELU's scalars belong to xIELU only.
    (LLAMA | {"model_type": "apertus", "hidden_act": "relu"}, 22_800),
    # Without shared experts Hunyuan 3 builds a layer of the dense width in their place.
    (LLAMA | {"model_type": "hy_v3", "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8,
              "moe_intermediate_size": 16, "num_shared_experts": 0}, 39_952),
    # Biases in the dense layers and the shared experts, not in the routed ones.
    (LLAMA | {"model_type": "deepseek_v2", "mlp_bias": True, "first_k_dense_replace": 1,
              "n_routed_experts": 4, "n_shared_experts": 2, "moe_intermediate_size": 16,
              "num_experts_per_tok": 2, "kv_lora_rank": 8, "q_lora_rank": None,
              "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}, 38_328),
    # Two groups of layers with weights of their own, three layers in each.
    (BERT | {"model_type": "albert", "embedding_size": 16, "num_hidden_groups": 2,
             "inner_group_num": 3}, 48_352),
    # A table of tasks (ernie-3.0); a table of token types without rows.
    (BERT | {"model_type": "ernie", "use_task_id": True, "task_type_vocab_size": 3}, 42_128),
    (BERT | {"model_type": "roberta", "type_vocab_size": 0}, 41_968),
    (BERT | {"model_type": "big_bird", "use_bias": False}, 41_552),
    # allenai/longformer-base-4096 and allenai/led-base-16384.
    (BASE | {"model_type": "longformer", "hidden_size": 768, "num_attention_heads": 12,
             "num_hidden_layers": 12, "intermediate_size": 3072, "attention_window": [512] * 12,
             "max_position_embeddings": 4098, "type_vocab_size": 1}, 148_659_456),
    (BASE | {"model_type": "led", "d_model": 768, "encoder_layers": 6, "decoder_layers": 6,
             "encoder_attention_heads": 12, "decoder_attention_heads": 12,
             "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "attention_window": [1024] * 6,
             "max_encoder_position_embeddings": 16384,
             "max_decoder_position_embeddings": 1024}, 161_844_480),
    # google/pegasus-x-base.
    ({"model_type": "pegasus_x", "vocab_size": 96103, "d_model": 768, "encoder_layers": 12,
      "decoder_layers": 12, "encoder_attention_heads": 12, "decoder_attention_heads": 12,
      "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "num_global_tokens": 128}, 272_292_096),
    # jhu-clsp/ettin-decoder-150m.
    ({"model_type": "modernbert-decoder", "vocab_size": 50368, "hidden_size": 768,
      "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152,
      "local_attention": 128, "tie_word_embeddings": True}, 149_655_232),
    # EmbeddingGemma: an encoder with Gemma 3's layers.
    (LLAMA | {"model_type": "gemma3_text", "use_bidirectional_attention": True, "head_dim": 8,
              "tie_word_embeddings": True}, 25_552),
    # What a class writes back that its fields do not have.
    (LLAMA | {"model_type": "minicpm3", "qk_head_dim": 12, "kv_lora_rank": 8, "q_lora_rank": 8,
              "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}, 25_872),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "parameters"),
    CONFIGS,
    ids=lambda value: isinstance(value, dict) and value["model_type"],
)
def test_totals_of_unusual_configs(config: dict[str, Any], parameters: int) -> None:
    assert summarise(spec_from_config(config, "model", "config.json").spec).total == parameters


def test_a_bidirectional_gemma_keeps_no_cache() -> None:
    config = CONFIGS[14][0] | {"sliding_window": 9, "layer_types": ["sliding_attention"] * 3}
    spec = spec_from_config(config, "model", "config.json").spec
    (block,) = spec.blocks.values()
    assert block.attention is not None
    assert not list(block.attention.cache())
    assert getattr(block.attention, "sliding_window", None) == 5  # half of it, and the token itself


HEADS = {
    "vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "max_position_embeddings": 64, "type_vocab_size": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model_type", "name", "more", "parameters"),
    [
        ("bert", "BertForMaskedLM", {}, 140_584),
        ("roberta", "RobertaForMaskedLM", {}, 140_584),
        ("roberta-prelayernorm", "RobertaPreLayerNormForMaskedLM", {}, 140_712),
        ("nomic_bert", "NomicBertForMaskedLM", {}, 151_976),
        ("gte", "GteForMaskedLM", {}, 152_616),
        ("big_bird", "BigBirdForMaskedLM", {}, 144_744),  # the one with a pooler
        ("longformer", "LongformerForMaskedLM", {}, 165_544),
        ("albert", "AlbertForMaskedLM", {"embedding_size": 32}, 72_904),
        ("electra", "ElectraForMaskedLM", {"embedding_size": 32}, 106_376),
    ],
)
def test_heads_for_masked_words(
    model_type: str, name: str, more: dict[str, Any], parameters: int
) -> None:
    config = HEADS | more | {"model_type": model_type, "architectures": [name]}
    found = spec_from_config(config, "model", "config.json")
    assert summarise(found.spec).total == parameters
    assert found.spec.head == "mlm"


def test_bert_base_with_its_head() -> None:
    # google-bert/bert-base-uncased as transformers' BertForMaskedLM; BertModel has 109,482,240.
    config = {
        "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30522,
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2,
    }  # fmt: skip
    assert summarise(spec_from_config(config, "bert", "config.json").spec).total == 109_514_298
    config["architectures"] = ["BertModel"]
    assert summarise(spec_from_config(config, "bert", "config.json").spec).total == 109_482_240


@pytest.mark.parametrize(
    ("model_type", "name", "more"),
    [("bert", "BertForPreTraining", {}), ("bert", "BertForMultipleChoice", {})],
)
def test_a_head_that_is_not_counted_is_named(
    model_type: str, name: str, more: dict[str, Any]
) -> None:
    config = HEADS | more | {"model_type": model_type, "architectures": [name]}
    found = spec_from_config(config, "model", "config.json")
    assert found.spec.head == "none"
    assert f'head = none: the head of "{name}" is not counted' in found.assumptions
    assert f'the head of "{name}"' in found.spec.left_out


def test_a_bidirectional_gemma_with_a_head_keeps_it() -> None:
    config = LLAMA | {"model_type": "gemma3_text", "use_bidirectional_attention": True,
                      "head_dim": 8, "architectures": ["Gemma3ForCausalLM"]}  # fmt: skip
    spec = spec_from_config(config, "model", "config.json").spec
    assert (spec.head, summarise(spec).total) == ("lm", 27_600)
    del config["architectures"]
    found = spec_from_config(config, "model", "config.json")
    assert found.spec.head == "none"
    assert any(line.startswith("head = none") for line in found.assumptions)


@pytest.mark.parametrize(
    ("model_type", "more", "rare"),
    [
        ("gemma2", {"head_dim": 8}, 6),
        ("gemma3_text", {"head_dim": 8}, 2),
        ("cohere2", {"tie_word_embeddings": True}, 3),
        ("llama4_text", {"head_dim": 8, "intermediate_size_mlp": 48}, 3),
    ],
)
def test_an_assumed_pattern_of_layers_is_named(
    model_type: str, more: dict[str, Any], rare: int
) -> None:
    config = LLAMA | more | {"model_type": model_type, "num_hidden_layers": 12}
    note = (
        f"layer_types: not in the file; {rare} of 12 layers see everything, by the class's own "
        f"pattern"
    )
    assert note in spec_from_config(config, "model", "config.json").assumptions
    stated = config | {"layer_types": ["full_attention"] * 12}
    assert note not in spec_from_config(stated, "model", "config.json").assumptions


def test_gemma4_as_transformers_saves_it() -> None:
    """save_pretrained of 5.23 writes the layers' numbers with leading zeros: "05" beside "11"."""
    layers = ["full_attention" if index % 6 == 5 else "sliding_attention" for index in range(12)]
    config = LLAMA | {
        "model_type": "gemma4_text", "num_hidden_layers": 12, "layer_types": layers, "global_head_dim": 16,
        "head_dim": 8, "sliding_window": 8, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
    }  # fmt: skip
    plain = spec_from_config(config, "model", "config.json").spec
    padded = config | {"per_layer_config": {"05": {"head_dim": 16}, "11": {"head_dim": 16}}}
    assert spec_from_config(padded, "model", "config.json").spec == plain
    other = config | {"per_layer_config": {"05": {"head_dim": 8}, "11": {"head_dim": 16}}}
    with pytest.raises(UnsupportedError, match="per_layer_config"):
        spec_from_config(other, "model", "config.json")


@pytest.mark.parametrize(
    ("own", "flags", "total"),
    [
        ({"head_dim": 512}, {}, 15_220_224),
        ({"head_dim": 512, "num_key_value_heads": 2}, {"attention_k_eq_v": True}, 13_647_360),
        ({"head_dim": 128}, {}, 10_500_096),
        ({"head_dim": 128, "num_key_value_heads": 2}, {"attention_k_eq_v": True}, 10_106_880),
    ],
)
def test_gemma4s_global_layers_as_transformers_saves_them(
    own: dict[str, int], flags: dict[str, bool], total: int
) -> None:
    """per_layer_config has taken the place of global_head_dim and num_global_key_value_heads; what
    transformers 5.23 builds of it."""
    config = {
        "model_type": "gemma4_text", "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64,
        "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "sliding_window": 512,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 2,
        "tie_word_embeddings": True, "per_layer_config": {"05": own, "11": own},
    }  # fmt: skip
    spec = spec_from_config(config | flags, "model", "config.json").spec
    assert summarise(spec).total == total
    wrong: tuple[dict[str, Any], ...] = (
        {"05": own}, {"05": own, "11": {"sliding_window": 3}}, {"5": own, "x": own},
        {"05": own, "11": own | {"head_dim": 32}},
    )  # fmt: skip
    for each in wrong:
        with pytest.raises(UnsupportedError, match="per_layer_config"):
            spec_from_config(config | {"per_layer_config": each}, "model", "config.json")


@pytest.mark.parametrize(
    ("config", "held"),
    [
        # modeling_openai.py has no cache; a new Falcon decoder's one head is repeated seven times.
        ({"model_type": "openai-gpt", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 100}, 0),
        ({"model_type": "falcon", "hidden_size": 56, "num_attention_heads": 7, "num_hidden_layers": 2,
          "vocab_size": 100, "new_decoder_architecture": True, "num_kv_heads": 1, "bias": False}, 7168),
    ],
)  # fmt: skip
def test_what_transformers_keeps(
    config: dict[str, Any], held: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), "utf-8")
    arguments = ["--engine", "transformers", "--context", "16", "--format", "json"]
    with pytest.raises(SystemExit, match="0"):
        main(["estimate", str(file), *arguments])
    assert json.loads(capsys.readouterr().out)["cache"]["bytes"] == held


def test_a_revision_may_have_slashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One pattern decides what a hub id is: a pull request's revision asks for the hub as a branch does."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for revision in ("abc", "refs/pr/1"):
        with pytest.raises(NotFoundError, match=f"/blob/{revision}/config.json"):
            locate(f"nobody/nothing@{revision}")


@pytest.mark.parametrize(
    ("model_type", "key", "same", "other"),
    [("hunyuan_v1_dense", "use_qk_norm", True, False), ("hunyuan_v1_moe", "num_shared_expert", 1, 2),
     ("bamba", "attn_rotary_emb", 64, None)],
)  # fmt: skip
def test_keys_that_say_what_the_class_builds_anyway(
    model_type: str, key: str, same: Any, other: Any
) -> None:
    """transformers 5.23: HunYuan's norms of queries and keys, its one shared expert; no weights."""
    config = drawn(model_type, 0)
    plain = summarise(spec_from_config(config, "x", "y").spec).total
    assert summarise(spec_from_config(config | {key: same}, "x", "y").spec).total == plain
    if other is not None:
        with pytest.raises(UnsupportedError, match=key):
            spec_from_config(config | {key: other}, "x", "y")
