"""Kimi Delta Attention: states as measured, parameters as the reference modules list them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.kda import KimiDeltaAttention

KIMI_LINEAR = KimiDeltaAttention(kind="kda", num_heads=32, head_dim=128, short_conv_kernel_size=4)
KIMI_K3 = KimiDeltaAttention(
    kind="kda", num_heads=96, head_dim=128, short_conv_kernel_size=4, full_rank_gate=True
)
LING = KimiDeltaAttention(
    kind="kda", num_heads=32, head_dim=128, short_conv_kernel_size=4,
    full_rank_gate=True, full_rank_decay=True,
)  # fmt: skip


def test_state_shapes_and_bytes() -> None:
    conv, state = KIMI_LINEAR.cache()
    # transformers 5.23 measured [1, 12288, 4] bf16 (one column more) and [1, 32, 128, 128] fp32.
    assert conv.full_shape(1, 1) == (1, 12288, 3)
    assert state.full_shape(1, 1) == (1, 32, 128, 128)
    # 43,909,120 measured on 20 layers, less 20 * 12288 * 2.
    assert 20 * sum(t.position_bytes(CacheDtypes()) for t in KIMI_LINEAR.cache()) == 43_417_600


def test_kimi_k3_state() -> None:
    conv, state = KIMI_K3.cache()
    # 69 layers: 414.0 MiB of fp32 states, 14.55 MiB of bf16 columns; dimensions from config.json.
    assert 69 * state.position_bytes(CacheDtypes()) == 434_110_464
    assert 69 * conv.position_bytes(CacheDtypes()) == 15_261_696


def test_parameters() -> None:
    # transformers 5.23 KimiLinearDeltaAttention and BailingHybridDeltaAttention, meta device.
    assert sum(t.numel for t in KIMI_LINEAR.parameters(2304)) == 39_514_272
    assert sum(t.numel for t in LING.parameters(2560)) == 63_049_888


def test_the_full_rank_gate_of_kimi_k3() -> None:
    shapes = {t.name: t.shape for t in KIMI_K3.parameters(7168)}
    # One matrix of 7168 x 12288 (88.1 M) in place of the pair of rank 128.
    assert shapes["g_proj.weight"] == (12288, 7168)
    assert "g_a_proj.weight" not in shapes
    assert shapes["forget_gate.f_a_proj.weight"] == (128, 7168)


def test_heads_are_divided_and_low_rank_inputs_are_not() -> None:
    conv, state = KIMI_LINEAR.cache()
    assert conv.per_rank(8) == (1536, 3)
    assert state.per_rank(8) == (4, 128, 128)
    shapes = {t.name: t.per_rank(8) for t in KIMI_LINEAR.parameters(2304)}
    assert shapes["g_a_proj.weight"] == (128, 2304)
    assert shapes["g_b_proj.weight"] == (512, 128)
    assert shapes["forget_gate.A_log"] == (1, 1, 4, 1)
