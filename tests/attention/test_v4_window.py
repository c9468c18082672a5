from dataclasses import replace
from typing import Any

from kvcalc.attention.v4_window import SharedKeyValueWindow

FLASH = SharedKeyValueWindow(
    kind="v4_window",
    num_attention_heads=64,
    head_dim=512,
    q_lora_rank=1024,
    o_groups=8,
    o_lora_rank=1024,
    sliding_window=128,
)


def test_one_vector_is_key_and_value(sums: Any) -> None:
    # transformers 5.23 keeps (1, 1, min(T, 127), 512): its window leaves the current token out.
    assert sums.shapes(FLASH, 100) == {"key_value": (1, 100, 512)}
    assert sums.shapes(FLASH, 1_000_000) == {"key_value": (1, 128, 512)}


def test_parameters(sums: Any) -> None:
    # self_attn of a sliding_attention layer of DeepSeek-V4-Flash, transformers 5.23 on meta.
    assert sums.parameters(FLASH, 4096) == 106_956_352


def test_fp8_ds_mla_row_is_584_bytes(sums: Any) -> None:
    # vLLM: 448 e4m3, 64 bf16, 7 e8m0 scales and a byte of padding.
    assert sums.bytes(FLASH, 1, "fp8_ds_mla") == 584
    assert sums.bytes(FLASH, 1, "fp8") == 512


def test_tensor_parallelism(sums: Any) -> None:
    assert sums.per_rank(FLASH, 8) == {"key_value": (512,)}
    weights = sums.weights_per_rank(FLASH, 4096, 8)
    assert weights["q_b_proj.weight"] == (4096, 1024)
    assert weights["kv_proj.weight"] == (512, 4096)
    assert weights["o_a_proj.weight"] == (1024, 4096)
    assert weights["o_b_proj.weight"] == (4096, 1024)
    assert weights["sinks"] == (8,)


def test_inconsistent_fields_are_named() -> None:
    assert [field for field, _ in replace(FLASH, o_groups=7).check()] == ["o_groups"]
    assert list(FLASH.check()) == []
