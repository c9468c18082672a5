from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.differential import DifferentialAttention

# The defaults of transformers' DiffLlamaConfig: 16 layers, hidden_size 2048.
DIFFLLAMA = DifferentialAttention(
    kind="differential", num_attention_heads=32, num_key_value_heads=32, head_dim=64
)


def test_cache(sums: Any) -> None:
    # 16 layers in bf16, summed over transformers 5.23's own cache.
    assert sums.bytes(DIFFLLAMA, 1, "bf16") * 16 == 131_072


def test_parameters(sums: Any) -> None:
    # DiffLlamaAttention of transformers 5.23 on meta; the norm of the paper's code adds 2 * 64.
    assert sums.parameters(DIFFLLAMA, 2048) == 16_777_472
    assert sums.parameters(replace(DIFFLLAMA, groupnorm_affine=True), 2048) == 16_777_600


def test_tensor_parallelism_keeps_pairs_together(sums: Any) -> None:
    layer = replace(DIFFLLAMA, num_key_value_heads=8)
    assert sums.per_rank(layer, 4)["key"] == (2, 64)
    assert sums.per_rank(layer, 8)["key"] == (2, 64)
    assert sums.weights_per_rank(layer, 2048, 8)["q_proj.weight"] == (256, 2048)
    with pytest.raises(ValueError, match="16 cannot be divided among 32 ranks; 16 does"):
        sums.weights_per_rank(layer, 2048, 32)


def test_inconsistent_fields_are_named() -> None:
    odd = replace(DIFFLLAMA, num_attention_heads=3, num_key_value_heads=3)
    assert [field for field, _ in odd.check()] == ["num_key_value_heads"]
    uneven = replace(DIFFLLAMA, num_key_value_heads=6)
    assert [field for field, _ in uneven.check()] == ["num_key_value_heads"]
    assert list(DIFFLLAMA.check()) == []
