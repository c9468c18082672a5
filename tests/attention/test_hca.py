from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.hca import HeavilyCompressedAttention

FLASH = HeavilyCompressedAttention(
    kind="hca",
    num_attention_heads=64,
    head_dim=512,
    q_lora_rank=1024,
    o_groups=8,
    o_lora_rank=1024,
    sliding_window=128,
    compress_rate=128,
)
PRO = replace(FLASH, num_attention_heads=128, q_lora_rank=1536, o_groups=16)


# Entries and buffered tokens in transformers 5.23's cache of a heavily_compressed_attention layer.
@pytest.mark.parametrize(
    ("tokens", "entries", "buffered"),
    [
        (1, 0, 1),
        (127, 0, 127),
        (128, 1, 0),
        (130, 1, 2),
        (255, 1, 127),
        (1023, 7, 127),
        (1025, 8, 1),
    ],
)
def test_entries_and_tail(sums: Any, tokens: int, entries: int, buffered: int) -> None:
    shapes = sums.shapes(FLASH, tokens)
    assert shapes.pop("key_value") == (1, min(tokens, 128), 512)
    assert shapes == {
        "compressed_key_value": (1, entries, 512),
        "buffer_kv": (1, buffered, 512),
        "buffer_gate": (1, buffered, 512),
    }


def test_parameters(sums: Any) -> None:
    # self_attn of a heavily_compressed_attention layer, transformers 5.23 on meta.
    assert sums.parameters(FLASH, 4096) == 111_216_704
    assert sums.parameters(PRO, 7168) == 307_300_992


def test_fp8_ds_mla(sums: Any) -> None:
    # 584 for each of 128 window vectors and one entry; 3 tokens of 512 buffered twice in fp32
    # (vLLM): 75,336 + 12,288.
    assert sums.bytes(FLASH, 131, "fp8_ds_mla") == 87_624


def test_everything_is_replicated(sums: Any) -> None:
    assert sums.per_rank(FLASH, 8) == {
        "key_value": (512,),
        "compressed_key_value": (512,),
        "buffer_kv": (512,),
        "buffer_gate": (512,),
    }


def test_ranks_divide_query_heads_and_groups(sums: Any) -> None:
    """8 of 64 heads, one of 8 groups; the compressor is whole (vLLM 0.33 deepseek_v4/compressor.py)."""
    weights = sums.weights_per_rank(FLASH, 4096, 8)
    assert weights["q_b_proj.weight"] == (8 * 512, 1024)
    assert (weights["o_a_proj.weight"], weights["o_b_proj.weight"]) == ((1024, 4096), (4096, 1024))
    assert weights["compressor.kv_proj.weight"] == (512, 4096)
    assert weights["compressor.position_bias"] == (128, 512)


def test_inconsistent_fields_are_named() -> None:
    assert [field for field, _ in replace(FLASH, o_groups=7).check()] == ["o_groups"]
