from dataclasses import replace
from typing import Any

from kvcalc.attention.forgetting import ForgettingAttention
from kvcalc.dtypes import CacheDtypes

FOX = ForgettingAttention(
    kind="forgetting", num_attention_heads=32, num_key_value_heads=8, head_dim=64
)


def test_cache(sums: Any) -> None:
    # flash-linear-attention 0.5.2, ForgettingAttention in bf16: (k, v, f), f in float32.
    assert sums.shapes(FOX, 7) == {
        "key": (1, 8, 7, 64), "value": (1, 8, 7, 64), "log_forget": (1, 7, 32)
    }  # fmt: skip
    assert sums.elements(FOX, 1) == 1056
    bf16 = CacheDtypes("bf16")
    assert [tensor.position_bytes(bf16) for tensor in FOX.cache()] == [1024, 1024, 128]


def test_parameters(sums: Any) -> None:
    # The same class on meta, hidden_size 2048.
    assert sums.parameters(replace(FOX, num_key_value_heads=32), 2048) == 16_842_784
    assert sums.parameters(FOX, 2048) == 10_551_328
    full = replace(FOX, qkv_bias=True, qk_norm=True, output_gate=True)
    assert sums.parameters(full, 2048) == 14_751_264


def test_tensor_parallelism(sums: Any) -> None:
    # Sixteen ranks have a KV head each, two to a head, and the gates of their two query heads.
    assert sums.per_rank(FOX, 16) == {"key": (1, 64), "value": (1, 64), "log_forget": (2,)}
    full = replace(FOX, qkv_bias=True, qk_norm=True, output_gate=True)
    assert sums.weights_per_rank(full, 2048, 16) == {
        "q_proj.weight": (128, 2048), "q_proj.bias": (128,),
        "k_proj.weight": (64, 2048), "k_proj.bias": (64,),
        "v_proj.weight": (64, 2048), "v_proj.bias": (64,),
        "f_proj.weight": (2, 2048), "f_proj.bias": (2,),
        "g_proj.weight": (128, 2048), "q_norm.weight": (128,), "k_norm.weight": (64,),
        "o_proj.weight": (2048, 128),
    }  # fmt: skip


def test_inconsistent_fields_are_named() -> None:
    bad = replace(FOX, num_key_value_heads=5)
    assert [field for field, _ in bad.check()] == ["num_key_value_heads"]
    assert list(FOX.check()) == []
