from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.moba import MixtureOfBlockAttention

# MoBA report, Llama-8B-1M-MoBA: blocks of 4,096, top 12 (its last three layers stay full).
LLAMA_8B = MixtureOfBlockAttention(
    kind="moba",
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    moba_chunk_size=4096,
    moba_topk=12,
)


def test_sparse_reading_keeps_everything(sums: Any) -> None:
    # As the full-attention Llama-3.1-8B: 131,072 bytes a token over 32 layers in bf16.
    assert sums.bytes(LLAMA_8B, 1, "bf16") * 32 == 131_072


# Quest keeps the page that is being filled, MoBA needs whole blocks only.
@pytest.mark.parametrize(
    ("tokens", "mean", "min_max"), [(1, 0, 1), (4095, 0, 1), (4096, 1, 1), (4097, 1, 2)]
)
def test_block_summaries(sums: Any, tokens: int, mean: int, min_max: int) -> None:
    shapes = sums.shapes(replace(LLAMA_8B, block_keys="mean"), tokens)
    assert shapes["mean_key"] == (1, 8, mean, 128)
    shapes = sums.shapes(replace(LLAMA_8B, block_keys="min_max"), tokens)
    assert shapes["min_key"] == shapes["max_key"] == (1, 8, min_max, 128)


def test_parameters(sums: Any) -> None:
    # self_attn of Llama-3-8B, transformers 5.23 on meta: MoBA adds no weights.
    assert sums.parameters(LLAMA_8B, 4096) == 41_943_040


def test_tensor_parallelism(sums: Any) -> None:
    layer = replace(LLAMA_8B, block_keys="mean")
    assert sums.per_rank(layer, 16) == {"key": (1, 128), "value": (1, 128), "mean_key": (1, 128)}


def test_inconsistent_fields_are_named() -> None:
    bad = replace(LLAMA_8B, num_key_value_heads=5)
    assert [field for field, _ in bad.check()] == ["num_key_value_heads"]
    assert list(LLAMA_8B.check()) == []
