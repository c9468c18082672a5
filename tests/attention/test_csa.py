from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.csa import CompressedSparseAttention
from kvcalc.attention.hca import HeavilyCompressedAttention
from kvcalc.attention.v4_window import SharedKeyValueWindow

FLASH = CompressedSparseAttention(
    kind="csa",
    num_attention_heads=64,
    head_dim=512,
    q_lora_rank=1024,
    o_groups=8,
    o_lora_rank=1024,
    sliding_window=128,
    compress_rate=4,
    index_n_heads=64,
    index_head_dim=128,
    index_topk=512,
)
PRO = replace(FLASH, num_attention_heads=128, q_lora_rank=1536, o_groups=16, index_topk=1024)


# Entries, buffered tokens and overlap tokens in transformers 5.23's cache of such a layer.
@pytest.mark.parametrize(
    ("tokens", "entries", "buffered", "overlap"),
    [(1, 0, 1, 0), (3, 0, 3, 0), (4, 1, 0, 4), (5, 1, 1, 4), (129, 32, 1, 4), (1023, 255, 3, 4)],
)
def test_entries_tail_and_overlap(
    sums: Any, tokens: int, entries: int, buffered: int, overlap: int
) -> None:
    shapes = sums.shapes(FLASH, tokens)
    assert shapes.pop("key_value") == (1, min(tokens, 128), 512)
    assert shapes == {
        "compressed_key_value": (1, entries, 512),
        "buffer_kv": (1, buffered, 1024),
        "buffer_gate": (1, buffered, 1024),
        "overlap_kv": (1, overlap, 512),
        "overlap_gate": (1, overlap, 512),
        "index_key": (1, entries, 128),
        "index_buffer_kv": (1, buffered, 256),
        "index_buffer_gate": (1, buffered, 256),
        "index_overlap_kv": (1, overlap, 128),
        "index_overlap_gate": (1, overlap, 128),
    }


def test_parameters(sums: Any) -> None:
    # self_attn of a compressed_sparse_attention layer, transformers 5.23 on meta.
    assert sums.parameters(FLASH, 4096) == 126_098_624
    assert sums.parameters(PRO, 7168) == 331_292_416


def test_deepseek_v4_flash_as_measured(sums: Any) -> None:
    # transformers 5.23 at 32,768 tokens: 6,880 bytes a token and 6,067,200 fixed. It keeps 127
    # tokens of the window where 128 are logical, and a copy as "values" in 2 window layers:
    # 43 * 512 * 2 more and 2 * 127 * 512 * 2 less here.
    base = {
        "num_attention_heads": 64,
        "head_dim": 512,
        "q_lora_rank": 1024,
        "o_groups": 8,
        "o_lora_rank": 1024,
        "sliding_window": 128,
    }
    window = SharedKeyValueWindow(kind="v4_window", **base)
    heavy = HeavilyCompressedAttention(kind="hca", compress_rate=128, **base)
    held = sum(
        count * sums.bytes(layer, 32_768, "bf16")
        for count, layer in ((2, window), (21, FLASH), (20, heavy))
    )
    assert held == 6_880 * 32_768 + 6_067_200 + 44_032 - 260_096


def test_fp8_ds_mla(sums: Any) -> None:
    # vLLM: 584 for each of 5 window vectors and one entry, 132 for an index key; one token's 2,560
    # and the last block's 4 * 1,280 compressor states in fp32.
    assert sums.bytes(FLASH, 5, "fp8_ds_mla") == 34_356


def test_everything_is_replicated(sums: Any) -> None:
    assert sums.per_rank(FLASH, 8) == {tensor.name: tensor.shape for tensor in FLASH.cache()}


def test_ranks_divide_query_heads_and_groups(sums: Any) -> None:
    """8 of 64 heads, one of 8 groups; compressor and indexer are whole (vLLM deepseek_v4/compressor.py)."""
    weights = sums.weights_per_rank(FLASH, 4096, 8)
    assert weights["q_b_proj.weight"] == (8 * 512, 1024)
    assert (weights["o_a_proj.weight"], weights["o_b_proj.weight"]) == ((1024, 4096), (4096, 1024))
    assert weights["compressor.kv_proj.weight"] == (1024, 4096)
    assert weights["compressor.indexer.q_b_proj.weight"] == (64 * 128, 1024)
    assert weights["compressor.indexer.scorer.weights_proj.weight"] == (64, 4096)


def test_inconsistent_fields_are_named() -> None:
    assert [field for field, _ in replace(FLASH, o_groups=7).check()] == ["o_groups"]
