"""verify --against transformers: real twins agree, random ones agree, and wrong specs are caught."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kvcalc.spec.catalog import load
from kvcalc.spec.model import LayerGroup, ModelSpec
from kvcalc.spec.set_fields import with_fields

pytest.importorskip("transformers")
from kvcalc.engines.transformers import caches as engine
from kvcalc.tensors import Chunk, Extent, Window
from kvcalc.verify.twins.comparison import Report, verify_against_transformers
from kvcalc.verify.twins.matching import match_tensors

pytestmark = pytest.mark.hf
# Costly, and of the same kind as a case beside them: `pytest -m sweep` runs them.
SWEEP = pytest.mark.sweep


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """transformers warns about kernels that are not installed."""
    import logging as levels
    import warnings

    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(levels.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.set_verbosity(before)


def failures(report: Report) -> str:
    return "\n".join(
        f"{row.proof}: {row.what}: {row.formula} | {row.measured}" for row in report.failures
    )


# Cheap to build and run, and one of each way to keep something; measured.py has the others.
LIVE = (
    "llama-3-8b", "gpt2", "t5-base", "whisper-tiny", "bart-base", "albert-base-v2", "lfm2-1.2b",
    "nemotron-h-8b", "falcon-40b",
)  # fmt: skip


@pytest.mark.parametrize("name", LIVE)
def test_the_twin_at_true_size_agrees(name: str) -> None:
    report = verify_against_transformers(load(name))
    assert report.status == "passed", failures(report)
    assert report.tokens
    assert report.parameters
    if report.class_name not in ("BertModel", "AlbertModel"):
        assert report.cache_bytes


def test_a_twin_that_differs_says_how() -> None:
    # transformers 5 ties flan-t5's head: 2,783,959,040 measured, 65,798,144 below the checkpoint.
    report = verify_against_transformers(load("flan-t5-xl"))
    assert report.passed, failures(report)
    assert report.parameters == 2_783_959_040
    assert "ties the head" in report.difference


def test_no_twin_is_neither_passed_nor_failed() -> None:
    report = verify_against_transformers(load("rwkv-7-2.9b"))
    assert report.status == "no_twin"
    assert "remote code" in report.reason


# ---------------------------------------------------------------- random dimensions

# model -> field -> what to choose from; each choice is a model that nobody has published.
RANDOM: dict[str, dict[str, list[Any]]] = {
    "qwen3-0.6b": {
        "hidden_size": [192, 320], "vocab_size": [97, 1000], "layers[0].repeat": [2, 3, 5],
        "blocks.decoder.attention.num_attention_heads": [8, 16],
        "blocks.decoder.attention.num_key_value_heads": [2, 4],
        "blocks.decoder.attention.head_dim": [24, 40],
        "blocks.decoder.ffn.intermediate_size": [96, 200],
    },
    "mistral-7b-v0.1": {
        "hidden_size": [256, 512], "layers[0].repeat": [1, 3],
        "blocks.decoder.attention.sliding_window": [1, 2, 3, 7, 20],
        "blocks.decoder.attention.head_dim": [16, 64],
        "blocks.decoder.ffn.intermediate_size": [100, 333],
    },
    "falcon-40b": {
        "hidden_size": [512], "layers[0].repeat": [2], "vocab_size": [130, 260],
        "blocks.decoder.attention.num_attention_heads": [16, 32],
        "blocks.decoder.attention.num_key_value_heads": [2, 4, 8],
    },
    "minicpm3-4b": {
        "hidden_size": [160, 320], "layers[0].repeat": [2, 4],
        "blocks.decoder.attention.kv_lora_rank": [24, 80],
        "blocks.decoder.attention.qk_rope_head_dim": [16, 48],
        "blocks.decoder.attention.qk_nope_head_dim": [12, 20],
        "blocks.decoder.attention.v_head_dim": [12, 28],
    },
    "mamba2-2.7b": {
        "hidden_size": [128, 256], "layers[0].repeat": [1, 4],
        "blocks.mamba.recurrent.state_size": [16, 40],
        "blocks.mamba.recurrent.conv_kernel": [2, 3, 6],
    },
    "whisper-tiny": {
        "vocab_size": [300, 301], "layers[0].repeat": [1, 6], "encoder.tokens": [40],
        "encoder.positions": [40],
    },
}  # fmt: skip


def _random(name: str, seed: int) -> tuple[ModelSpec, int]:
    """A spec with random dimensions, and a random length to prefill."""
    chance = random.Random(f"{name} {seed}")
    spec = load(name)
    block = next(iter(spec.blocks))
    changes = {
        field.replace("blocks.decoder", f"blocks.{block}").replace("blocks.mamba", f"blocks.{block}"):
        chance.choice(choices)
        for field, choices in RANDOM[name].items()
    }  # fmt: skip
    if name == "falcon-40b":
        # A falcon's head_dim is hidden_size / num_attention_heads, its inner width 4 * hidden_size.
        heads = changes[f"blocks.{block}.attention.num_attention_heads"]
        changes[f"blocks.{block}.attention.head_dim"] = 512 // heads
        changes[f"blocks.{block}.ffn.intermediate_size"] = 2048
    if name == "mamba2-2.7b":
        changes[f"blocks.{block}.recurrent.num_heads"] = 2 * changes["hidden_size"] // 64
    changed = with_fields(spec, tuple(f"{field}={value}" for field, value in changes.items()))
    return replace(changed, expect=None), chance.randint(4, 40)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=SWEEP) for seed in (1, 2))])
@pytest.mark.parametrize("name", RANDOM)
def test_random_dimensions_agree(name: str, seed: int) -> None:
    spec, tokens = _random(name, seed)
    report = verify_against_transformers(spec, tokens=tokens)
    assert report.passed, failures(report)
    assert report.tokens == tokens


# ---------------------------------------------------------------- it must be able to fail


def shifted(spec: ModelSpec) -> ModelSpec:
    """The same layers, each one place later."""
    names = [name for group in spec.layers for name in group.names * group.repeat]
    return replace(spec, layers=(LayerGroup(blocks=(names[-1], *names[:-1])),))


def first_block(spec: ModelSpec) -> str:
    return spec.layers[0].names[0]


@pytest.mark.parametrize(
    ("name", "change", "proof"),
    [
        ("llama-3-8b", "attention.num_key_value_heads=4", "published"),
        ("llama-3-8b", "attention.num_attention_heads=16", "published"),
        ("llama-3-8b", "ffn.intermediate_size=14335", "published"),
        pytest.param(
            "deepseek-v2-lite", "attention.num_attention_heads=8", "published", marks=SWEEP
        ),
        pytest.param("mamba2-2.7b", "recurrent.state_size=64", "published", marks=SWEEP),
        ("gpt2", "attention.num_attention_heads=8", "parameters"),
    ],
)
def test_a_wrong_dimension_is_caught(name: str, change: str, proof: str) -> None:
    spec = load(name)
    blocks = [block for block in spec.blocks]
    changed = spec
    for block in blocks:
        part = change.split(".")[0]
        if getattr(spec.blocks[block], part) is not None:
            kind = f"blocks.{block}.attention.kind=gqa"
            extra = (kind,) if name in ("llama-3-8b", "gpt2") and "heads" in change else ()
            if name == "gpt2":
                extra = (f"blocks.{block}.attention.num_key_value_heads=8",)
            changed = with_fields(changed, (f"blocks.{block}.{change}", *extra))
    report = verify_against_transformers(changed)
    assert report.status == "failed"
    assert proof in {row.proof for row in report.failures}, failures(report)


@pytest.mark.parametrize(
    ("name", "proof", "word"),
    [
        ("gemma-3-1b", "cache", "layer 5 keys"),
        pytest.param("gpt-oss-20b", "cache", "layer 0 keys", marks=SWEEP),
        pytest.param("qwen3-next-80b-a3b", "cache", "layer 0 conv_states", marks=SWEEP),
        pytest.param("jamba-1.5-mini", "cache", "layer 4 keys", marks=SWEEP),
        pytest.param("llama-4-scout", "cache", "layer 0 keys", marks=SWEEP),
        pytest.param("recurrentgemma-2b", "cache", "layer 2 keys", marks=SWEEP),
        pytest.param("deepseek-v3", "parameters", "layer 0", marks=SWEEP),
        pytest.param("minimax-text-01", "cache", "layer 0 keys", marks=SWEEP),
        pytest.param("kimi-linear-48b-a3b", "layers", "order", marks=SWEEP),
        pytest.param("nemotron-h-8b", "layers", "order", marks=SWEEP),
        ("lfm2-1.2b", "layers", "order"),
    ],
)
def test_a_shifted_pattern_is_caught(name: str, proof: str, word: str) -> None:
    # A window is seen only past its end; RecurrentGemma's scan is slow, and its mixers differ.
    tokens = 12 if name == "recurrentgemma-2b" else None
    report = verify_against_transformers(shifted(load(name)), tokens=tokens)
    assert report.status == "failed"
    found = [row.what for row in report.failures if row.proof == proof]
    assert any(word in what for what in found), failures(report)


def test_a_wrong_rule_of_the_engine_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole_window(extent: Extent) -> Extent:
        return Window(extent.size) if isinstance(extent, Window | Chunk) else extent

    monkeypatch.setattr(engine, "kept", whole_window)
    report = verify_against_transformers(load("mistral-7b-v0.1"))
    assert [row.proof for row in report.failures[:1]] == ["cache"]
    assert "layer 0 keys" in report.failures[0].what
    # Mistral-7B-v0.1 keeps 4095 of its window of 4096.
    assert "4095" in report.failures[0].measured
    assert "4096" in report.failures[0].formula


def test_a_config_that_transformers_refuses_is_a_finding() -> None:
    # Its configuration class wants hidden_size to be a multiple of the 40 heads.
    spec = with_fields(load("minicpm3-4b"), ("hidden_size=2561",))
    report = verify_against_transformers(spec)
    assert report.status == "failed"
    assert [row.proof for row in report.failures] == ["twin"]
    assert "2561" in report.failures[0].measured


# ---------------------------------------------------------------- matching


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([("q", (8, 4)), ("k", (2, 4)), ("v", (2, 4))], [("qkv", (12, 4))]),
        ([("up", (16, 4))], [("conv1d", (4, 16))]),
        ([("conv", (8, 1, 3))], [("conv", (8, 3))]),
        ([("experts", (3, 5, 4))], [(f"expert.{index}", (5, 4)) for index in range(3)]),
        ([("experts", (3, 5, 4))], [("experts", (3, 4, 5))]),
        ([("norm", (32,))], [("norm", (8, 4))]),
    ],
)
def test_the_same_weights_in_another_layout_match(
    ours: list[tuple[str, tuple[int, ...]]], theirs: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert match_tensors(ours, theirs) == ([], [])
    assert match_tensors(theirs, ours) == ([], []) or len(ours[0][1]) == 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([("q", (8, 4)), ("k", (2, 4))], [("qk", (12, 4))]),
        ([("a", (8, 4))], [("a", (8, 5))]),
        ([("a", (8,)), ("b", (8,))], [("a", (8,))]),
    ],
)
def test_other_weights_do_not_match(
    ours: list[tuple[str, tuple[int, ...]]], theirs: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert match_tensors(ours, theirs) != ([], [])
