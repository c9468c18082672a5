from dataclasses import replace
from typing import Any

from kvcalc.attention.gta import GroupedTiedAttention

GTA_4 = GroupedTiedAttention(
    kind="gta", num_attention_heads=16, num_key_value_heads=4, head_dim=128, rope_dim=64
)


def test_cache(sums: Any) -> None:
    # arXiv 2505.21487: the tied states and half a head of rotary key; GQA-4 keeps 1,024.
    assert sums.elements(GTA_4, 1) == 576
    assert sums.shapes(GTA_4, 7) == {"key_value": (1, 4, 7, 128), "rope_key": (1, 7, 64)}


def test_parameters(sums: Any) -> None:
    # LlamaFlashGTA of Dao-AILab/grouped-latent-attention on meta, hidden_size 2048.
    assert sums.parameters(GTA_4, 2048) == 9_568_320


def test_tensor_parallelism(sums: Any) -> None:
    # Two ranks hold 2 * 128 + 64 each: the rotary key is replicated.
    assert sums.per_rank(GTA_4, 2) == {"key_value": (2, 128), "rope_key": (64,)}
    assert sums.per_rank(GTA_4, 8) == {"key_value": (1, 128), "rope_key": (64,)}
    weights = sums.weights_per_rank(GTA_4, 2048, 2)
    assert weights["kv_proj.weight"] == (256, 2048)
    assert weights["W_rope_k.bias"] == (64,)


def test_inconsistent_fields_are_named() -> None:
    bad = replace(GTA_4, num_key_value_heads=5, rope_dim=256)
    assert [field for field, _ in bad.check()] == ["num_key_value_heads", "rope_dim"]
    assert list(GTA_4.check()) == []
