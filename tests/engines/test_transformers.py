"""The library accounting: rules that the measured table does not show, versions, and refusals."""

import json
from dataclasses import replace
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers.caches import accounting, groups_of_version
from kvcalc.engines.transformers.versions import release_of
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.cache import compile_groups
from kvcalc.spec.catalog import load
from kvcalc.spec.loader import load_spec_text
from tests.verify.specs import SPECS


def slope(model: str, version: str | None = None) -> int:
    """Bytes that one more token adds."""
    bf16 = CacheDtypes()
    function = compile_groups(accounting(load(model), bf16, version).groups, bf16)
    return int(function.slope)


def estimate(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *arguments, "--format", "json"])
    result = json.loads(capsys.readouterr().out)
    return {"status": int(stop.value.code or 0), **result}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        # transformers 5.14.1 models/deepseek_v3: update(key_states, value_states), 128 heads of
        # 192 and 128; measured expanded and latent figures of DeepSeek-V3 a token.
        ("5.14.1", 4_997_120),
        ("5.15.0", 70_272),
        ("5.23.0", 70_272),
        (None, 70_272),
    ],
)
def test_mla_by_version(version: str | None, expected: int) -> None:
    assert slope("deepseek-v3", version) == expected


def test_mla_with_an_indexer_followed_later() -> None:
    # 5.17.0 models/deepseek_v32 still updates with key_states, value_states beside update_indexer:
    # 61 * (128 * 192 + 128 * 128 + 128) * 2; 5.18.0 updates with k_pass, k_rot.
    assert slope("deepseek-v3.2", "5.17.0") == 5_012_736
    assert slope("deepseek-v3.2", "5.18.0") == 85_888


def test_the_gates_of_deepseek_v4_are_float32_since_5_24() -> None:
    # Every tensor of its cache after 130 tokens on the meta device, run with each release: the
    # overlaps' gates are [1, 4, 512] and [1, 4, 128] in 21 layers, 2 bytes and then 4.
    def fixed(version: str | None) -> int:
        bf16 = CacheDtypes()
        groups = accounting(load("deepseek-v4-flash"), bf16, version).groups
        return int(compile_groups(groups, bf16).at(130))

    assert fixed("5.24.0") - fixed("5.23.0") == 21 * (4 * 512 + 4 * 128) * 2 == 107_520
    assert fixed(None) == fixed("5.24.0")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("9.9", "known are 5.0.0 to 5.24.0"),
        ("5.25.0", "known are 5.0.0 to 5.24.0"),
        ("5.15.7", "of 5.15 there are 5.15.0, 5.15.1"),
        ("5.10.0", "of 5.10 there are 5.10.1, 5.10.2, 5.10.4"),
    ],
)
def test_a_release_that_nobody_has_seen_is_refused(version: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        accounting(load("llama-3-8b"), CacheDtypes(), version)


def test_falcons_one_head_is_kept_once_or_for_every_query_head() -> None:
    # FalconAttention._split_heads, run on 5.23.0 and 5.24.0: 71 heads of 64 with the new decoder.
    spec = load("falcon-7b")
    notes = accounting(spec, CacheDtypes()).assumptions
    assert any("new_decoder_architecture" in note and "kind gqa" in note for note in notes)
    ((name, block),) = spec.blocks.items()
    wide = replace(block, attention=replace(block.attention, kind="gqa"))
    groups = accounting(replace(spec, blocks={name: wide}), CacheDtypes()).groups
    assert [tensor.shape for tensor in groups[0].tensors] == [(71, 64), (71, 64)]


def test_a_minor_release_is_its_first_patch() -> None:
    assert [release_of(text) for text in ("5.23", "v5.24", "5.10")] == [
        (5, 23, 0), (5, 24, 0), (5, 10, 1),
    ]  # fmt: skip


def test_tensors_bear_the_names_of_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    result = estimate(capsys, "qwen3-next-80b-a3b", "--engine", "transformers", "--context", "512")
    assert result["engine"] == "transformers"
    tensors = {
        tensor["name"]: (tensor["shape"], tensor["dtype"])
        for group in result["cache"]["groups"]
        for tensor in group["tensors"]
    }
    # Qwen3-Next-80B as measured on 5.23.0.
    assert tensors == {
        "conv_states": ([1, 8192, 4], "bf16"),
        "recurrent_states": ([1, 32, 128, 128], "fp32"),
        "keys": ([1, 2, 512, 256], "bf16"),
        "values": ([1, 2, 512, 256], "bf16"),
    }
    assert any("transformers 5.24.0" in note for note in result["assumptions"])


@pytest.mark.parametrize(
    ("model", "rank"),
    [
        ("llama-3.1-8b", 268_435_456),  # k_proj "colwise": 4 of 8 KV heads
        ("phi-3-mini-4k", 804_519_936),  # qkv_proj "colwise_gather_output": all 32
        ("olmo-2-7b", 2_147_483_648),  # k_proj "colwise_gather_output": all 32
        # Half of the heads, and the states whole: in_proj_qkvz is "colwise_gather_output".
        ("qwen3-next-80b-a3b", 50_331_648 + 77_856_768),
    ],
)
def test_a_rank_holds_what_the_plan_of_its_class_leaves_it(
    capsys: pytest.CaptureFixture[str], model: str, rank: int
) -> None:
    """transformers 5.23.0, tp_plan="auto": such models of small sizes were run on two ranks of gloo."""
    asked = ["--engine", "transformers", "--tp", "2", "--context", "4096"]
    assert estimate(capsys, model, *asked)["cache"]["per_device_bytes"] == [rank, rank]


@pytest.mark.parametrize(
    ("model", "word"), [("gpt2", "no tensor-parallel plan"), ("gpt-oss-20b", "head")]
)
def test_a_model_that_no_plan_divides_is_refused_on_ranks(
    capsys: pytest.CaptureFixture[str], model: str, word: str
) -> None:
    """GPT2LMHeadModel raises ValueError for tp_size=2; GptOssForCausalLM's plan is that of its head."""
    with pytest.raises(SystemExit) as stop:
        main(["estimate", model, "--engine", "transformers", "--tp", "2"])
    assert stop.value.code == 2
    assert word in capsys.readouterr().err
    assert (
        estimate(capsys, model, "--engine", "transformers", "--pp", "2")["engine"] == "transformers"
    )


def test_a_prefill_leaves_the_whole_context_allocated(capsys: pytest.CaptureFixture[str]) -> None:
    result = estimate(capsys, "mistral-7b-v0.1", "--engine", "transformers", "--context", "128k")
    # Mistral-7B-v0.1, 131,072 tokens, measured: 4095 positions shown, all of them allocated.
    assert result["cache"]["bytes"] == 536_739_840
    assert result["cache"]["after_prefill_bytes"] == 17_179_869_184
    assert any("without config=" in note for note in result["assumptions"])


@pytest.mark.parametrize(
    ("model", "arguments", "word"),
    [
        ("llama-3-8b", ["--kv-dtype", "q8_0"], "q8_0"),
        ("llama-3-8b", ["--kv-dtype", "fp8"], "fp8"),
        ("mamba-2.8b", ["--state-dtype", "bf16"], "--state-dtype"),
        ("deepseek-v3", ["--engine-version", "4.57.1"], "4.57.1"),
    ],
)
def test_what_the_library_has_not_is_refused(
    capsys: pytest.CaptureFixture[str], model: str, arguments: list[str], word: str
) -> None:
    result = estimate(capsys, model, "--engine", "transformers", *arguments)
    assert result["status"] == 2
    assert result["error"]["kind"] == "unsupported"
    assert word in result["error"]["message"]


def test_a_version_is_a_release() -> None:
    with pytest.raises(UsageError, match=r"as 5\.24\.0"):
        accounting(load("llama-3-8b"), CacheDtypes(), "latest")


def test_the_logical_accounting_has_no_versions(capsys: pytest.CaptureFixture[str]) -> None:
    result = estimate(capsys, "llama-3-8b", "--engine-version", "5.23.0")
    assert result["status"] == 2
    assert result["error"]["kind"] == "usage"


def test_states_in_the_models_dtype_follow_it() -> None:
    # MiniMaxCache.linear_cache is allocated in the model's dtype: 70 layers of [64, 128, 128]
    # beside 10 layers of keys and values, here of 1 token, all in fp32.
    fp32 = CacheDtypes.parse("fp32")
    function = compile_groups(accounting(load("minimax-text-01"), fp32).groups, fp32)
    assert function.at(1) == 293_683_200


def test_a_mechanism_that_transformers_lacks_is_named() -> None:
    from kvcalc.spec.loader import load_spec_text

    spec = load_spec_text("""
name: retention
source: none
hidden_size: 512
vocab_size: 1000
tie_word_embeddings: true
blocks:
  decoder: {recurrent: {kind: retnet, num_heads: 4, head_k_dim: 128, head_v_dim: 256}}
layers: [{repeat: 2, blocks: [decoder]}]
""")
    with pytest.raises(UnsupportedError, match="RetNet"):
        accounting(spec, CacheDtypes())


@pytest.mark.parametrize("name", SPECS)
def test_every_mechanism_has_a_rule_or_is_refused_by_name(name: str) -> None:
    try:
        groups = groups_of_version(load_spec_text(SPECS[name]))
    except UnsupportedError:
        return
    for tensor in (tensor for group in groups for tensor in group.tensors):
        if tensor.role in ("key", "value"):
            assert tensor.name.endswith(("keys", "values")), (name, tensor.name)


def test_zaya_as_measured() -> None:
    """A ZayaForCausalLM of 5.23.0 with a window of 4 in its second layer, 11 tokens, in bf16."""
    spec = load_spec_text("""name: zaya
source: made up
hidden_size: 64
vocab_size: 64
tie_word_embeddings: true
blocks:
  hybrid:
    attention: &attention
      {kind: cca, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 128, cca_time0: 2, cca_time1: 2}
  hybrid_sliding: {attention: {<<: *attention, sliding_window: 4}}
layers: [{blocks: [hybrid, hybrid_sliding]}]
""")
    found = [
        [(t.name, t.full_shape(1, t.extent.positions(11, 0))) for t in group.tensors]
        for group in groups_of_version(spec)
    ]
    fixed = [("conv_states", (1, 1280, 2)), ("recurrent_states", (1, 128))]
    assert found == [
        [("keys", (1, 2, 11, 128)), ("values", (1, 2, 11, 128)), *fixed],
        [("keys", (1, 2, 3, 128)), ("values", (1, 2, 3, 128)), *fixed],
    ]
