from dataclasses import replace
from typing import Any

from kvcalc.attention.gla import GroupedLatentAttention

GLA_2 = GroupedLatentAttention(
    kind="gla",
    num_attention_heads=16,
    num_latent_heads=2,
    head_dim=128,
    q_lora_rank=1024,
    kv_lora_rank=256,
    qk_rope_dim=64,
)


def test_cache(sums: Any) -> None:
    # As much as MLA with 512 + 64 (arXiv 2505.21487: latents of 2 * head_dim, half of MLA's).
    assert sums.elements(GLA_2, 1) == 576
    assert sums.shapes(GLA_2, 7) == {"latent": (1, 2, 7, 256), "rope_key": (1, 7, 64)}


def test_parameters(sums: Any) -> None:
    # LlamaFlashGLA of Dao-AILab/grouped-latent-attention on meta, hidden_size 2048.
    assert sums.parameters(GLA_2, 2048) == 11_675_712


def test_tensor_parallelism_divides_the_latents(sums: Any) -> None:
    # 256 + 64 = 320 on each of two ranks; more ranks do not make it less.
    assert sums.per_rank(GLA_2, 2) == {"latent": (1, 256), "rope_key": (64,)}
    assert sums.per_rank(GLA_2, 8) == {"latent": (1, 256), "rope_key": (64,)}
    weights = sums.weights_per_rank(GLA_2, 2048, 2)
    assert weights["W_dKV.weight"] == (320, 2048)
    assert weights["W_ukv_1.weight"] == (1024, 256)


def test_inconsistent_fields_are_named() -> None:
    bad = replace(GLA_2, num_latent_heads=3)
    assert [field for field, _ in bad.check()] == ["num_latent_heads"]
    assert list(GLA_2.check()) == []
