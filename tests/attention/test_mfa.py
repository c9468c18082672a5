from dataclasses import replace
from typing import Any

from kvcalc.attention.mfa import MultiMatrixFactorizationAttention

# Table 1 of the Step-3 report: 61 layers, 64 heads of 256, low-rank query of 2048.
STEP_3 = MultiMatrixFactorizationAttention(
    kind="mfa", num_attention_heads=64, head_dim=256, share_q_dim=2048
)


def test_cache(sums: Any) -> None:
    # Step-3 report, Table 2: 2.56e8 bytes at 8,192 tokens with one-byte keys and values.
    assert sums.bytes(STEP_3, 8192, "fp8") * 61 == 255_852_544
    assert sums.shapes(STEP_3, 5) == {"key": (1, 1, 5, 256), "value": (1, 1, 5, 256)}


def test_key_reuse_halves_the_cache(sums: Any) -> None:
    # arXiv 2412.19255: C instead of 2 * C elements.
    assert sums.elements(replace(STEP_3, reuse_key=True), 1) == 256


def test_parameters(sums: Any) -> None:
    # Step3TextAttention: q_proj 14,680,064, k_proj and v_proj 1,835,008 each, inter_norm 2,048,
    # wq 33,554,432, o_proj 117,440,512.
    assert sums.parameters(STEP_3, 7168) == 169_347_072
    # Key reuse has N (256, 256) and alpha (256) in place of v_proj.
    assert sums.parameters(replace(STEP_3, reuse_key=True), 7168) == 167_577_856


def test_tensor_parallelism_replicates_the_one_head(sums: Any) -> None:
    assert sums.per_rank(STEP_3, 8) == {"key": (1, 256), "value": (1, 256)}
    weights = sums.weights_per_rank(STEP_3, 7168, 8)
    assert weights["q_proj.weight"] == (2048, 7168)
    assert weights["wq.weight"] == (2048, 2048)
    assert weights["o_proj.weight"] == (7168, 2048)


def test_nothing_to_find() -> None:
    assert list(STEP_3.check()) == []
