"""Gated DeltaNet: states as measured, parameters as three reference modules list them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.gated_deltanet import GatedDeltaNet

QWEN3_NEXT = GatedDeltaNet(
    kind="gated_deltanet", linear_num_key_heads=16, linear_num_value_heads=32,
    linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4,
)  # fmt: skip
OLMO_HYBRID = GatedDeltaNet(
    kind="gated_deltanet", linear_num_key_heads=30, linear_num_value_heads=30,
    linear_key_head_dim=96, linear_value_head_dim=192, linear_conv_kernel_dim=4,
)  # fmt: skip
QWEN3_5_0_8B = GatedDeltaNet(
    kind="gated_deltanet", linear_num_key_heads=16, linear_num_value_heads=16,
    linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4,
)  # fmt: skip


def test_state_shapes_and_bytes() -> None:
    conv, state = QWEN3_NEXT.cache()
    # transformers 5.23 measured [1, 8192, 4] bf16 (one column more) and [1, 32, 128, 128] fp32.
    assert conv.full_shape(1, 1) == (1, 8192, 3)
    assert state.full_shape(1, 1) == (1, 32, 128, 128)
    # 77,856,768 measured on 36 layers, less 36 * 8192 * 2; vLLM's shapes give the same.
    assert 36 * sum(t.position_bytes(CacheDtypes()) for t in QWEN3_NEXT.cache()) == 77_266_944


def test_keys_and_values_of_different_widths() -> None:
    # transformers 5.23 measured [B, 11520, 4] and [B, 30, 96, 192] on OLMo-Hybrid.
    assert [t.shape for t in OLMO_HYBRID.cache()] == [(11520, 3), (30, 96, 192)]


def test_state_elements_of_the_rwkv_readme() -> None:
    # RWKV-LM README, Qwen3.5 L24-D1024: L*3/4*(3*6*D + 2*128*D) = 5.050368 M state elements.
    layer = sum(t.shape[0] * t.shape[1] * (t.shape[2] if len(t.shape) > 2 else 1)
                for t in QWEN3_5_0_8B.cache())  # fmt: skip
    assert 18 * layer == 5_050_368


def test_parameters() -> None:
    # transformers 5.23 Qwen3NextGatedDeltaNet (36 layers), OlmoHybridGatedDeltaNet, meta device.
    assert 36 * sum(t.numel for t in QWEN3_NEXT.parameters(2048)) == 1_213_864_704
    assert sum(t.numel for t in OLMO_HYBRID.parameters(3840)) == 88_750_332
    # RWKV-LM README, Qwen3.5, D = 1024: 12*2*D + 16*(2+2*D) + 128 + 10*D*D a layer.
    assert sum(t.numel for t in QWEN3_5_0_8B.parameters(1024)) == 10_543_264


def test_key_heads_and_value_heads_are_divided() -> None:
    conv, state = QWEN3_NEXT.cache()
    assert conv.per_rank(4) == (2048, 3)
    assert state.per_rank(4) == (8, 128, 128)
    shapes = {t.name: t.per_rank(4) for t in QWEN3_NEXT.parameters(2048)}
    assert shapes["in_proj_qkv.weight"] == (2048, 2048)
    assert shapes["out_proj.weight"] == (2048, 1024)
    assert shapes["norm.weight"] == (128,)


def test_key_heads_must_divide_the_value_heads() -> None:
    odd = GatedDeltaNet(
        kind="gated_deltanet", linear_num_key_heads=5, linear_num_value_heads=32,
        linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4,
    )  # fmt: skip
    assert [name for name, _ in odd.check()] == ["linear_num_value_heads"]
