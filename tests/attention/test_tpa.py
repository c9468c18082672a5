from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.tpa import TensorProductAttention

# tensorgi/TPA config/train_T6_medium_adam_80g8.py
T6_MEDIUM = TensorProductAttention(
    kind="tpa", num_attention_heads=47, head_dim=64, rank=2, q_rank=6
)


def test_cache(sums: Any) -> None:
    # The four factors of model/T6_infer.py; multi-head attention with 47 heads keeps 6,016.
    assert sums.elements(T6_MEDIUM, 1) == 444
    assert sums.shapes(T6_MEDIUM, 9) == {
        "key_a": (1, 9, 47, 2),
        "key_b": (1, 9, 2, 64),
        "value_a": (1, 9, 47, 2),
        "value_b": (1, 9, 2, 64),
    }


# Table 1 of arXiv 2501.06425 with R_K = R_V = 2, h = 47, d_h = 64.
@pytest.mark.parametrize(
    ("factors", "elements", "parameters"),
    [("noncontextual_a", 256, 3_736_022), ("noncontextual_b", 188, 3_562_112)],
)
def test_noncontextual_factors(sums: Any, factors: Any, elements: int, parameters: int) -> None:
    layer = replace(T6_MEDIUM, factors=factors)
    assert sums.elements(layer, 1) == elements
    assert sums.parameters(layer, 1024) == parameters


def test_parameters(sums: Any) -> None:
    # CausalSelfAttention of model/T6.py and model/T6_kvonly.py on meta, n_embd 1024, with the
    # group norm's 64.
    assert sums.parameters(replace(T6_MEDIUM, using_groupnorm=True), 1024) == 4_216_896
    kv_only = replace(T6_MEDIUM, q_rank=None, using_groupnorm=True)
    assert sums.parameters(kv_only, 1024) == 6_615_104
    assert sums.elements(kv_only, 1) == 444


def test_value_rank(sums: Any) -> None:
    assert sums.elements(replace(T6_MEDIUM, v_rank=4), 1) == 666


def test_tensor_parallelism_divides_the_head_factors(sums: Any) -> None:
    # T6-XL has 78 heads.
    layer = replace(T6_MEDIUM, num_attention_heads=78)
    assert sums.per_rank(layer, 2) == {
        "key_a": (39, 2),
        "key_b": (2, 64),
        "value_a": (39, 2),
        "value_b": (2, 64),
    }
    assert sums.weights_per_rank(layer, 1600, 2)["c_qkv.W_A_q.weight"] == (234, 1600)
    assert sums.weights_per_rank(layer, 1600, 2)["c_qkv.W_B_q.weight"] == (384, 1600)


def test_inconsistent_fields_are_named() -> None:
    bad = replace(T6_MEDIUM, rank=48, v_rank=50)
    assert [field for field, _ in bad.check()] == ["rank", "v_rank"]
    assert list(T6_MEDIUM.check()) == []
