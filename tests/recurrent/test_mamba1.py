"""Mamba-1: states as measured, parameters as the reference modules list them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.mamba1 import Mamba1

MAMBA_2_8B = Mamba1(
    kind="mamba1", intermediate_size=5120, state_size=16, conv_kernel=4, time_step_rank=160
)
JAMBA_MINI = Mamba1(
    kind="mamba1", intermediate_size=8192, state_size=16, conv_kernel=4, time_step_rank=256,
    inner_norms="weighted",
)  # fmt: skip
FALCON_MAMBA_7B = Mamba1(
    kind="mamba1", intermediate_size=8192, state_size=16, conv_kernel=4, time_step_rank=256,
    inner_norms="weight_free",
)  # fmt: skip


def test_state_shapes_and_bytes() -> None:
    conv, ssm = MAMBA_2_8B.cache()
    # transformers 5.23 measured [1, 5120, 4] bf16 (one column more) and [1, 5120, 16] fp32.
    assert conv.full_shape(1, 1) == (1, 5120, 3)
    assert ssm.full_shape(1, 1) == (1, 5120, 16)
    # 23,592,960 measured on 64 layers, less 64 * 5120 * 2 for the extra column.
    layer = sum(t.position_bytes(CacheDtypes()) for t in MAMBA_2_8B.cache())
    assert 64 * layer == 22_937_600


def test_state_dtype_changes_only_the_state() -> None:
    half = Mamba1(
        kind="mamba1", intermediate_size=5120, state_size=16, conv_kernel=4, time_step_rank=160,
        state_dtype="bf16",
    )  # fmt: skip
    # 5120 * 3 * 2 of convolution, 5120 * 16 * 2 of state.
    assert [t.position_bytes(CacheDtypes()) for t in half.cache()] == [30_720, 163_840]


def test_parameters() -> None:
    # transformers 5.23 MambaMixer, JambaMambaMixer, FalconMambaMixer on the meta device.
    assert sum(t.numel for t in MAMBA_2_8B.parameters(2560)) == 41_241_600
    assert sum(t.numel for t in FALCON_MAMBA_7B.parameters(4096)) == 105_308_160
    # 28 layers of Jamba-1.5-Mini: 2,948,636,544.
    assert 28 * sum(t.numel for t in JAMBA_MINI.parameters(4096)) == 2_948_636_544


def test_parameter_shapes() -> None:
    shapes = {t.name: t.shape for t in JAMBA_MINI.parameters(4096)}
    assert shapes["in_proj.weight"] == (16384, 4096)
    assert shapes["x_proj.weight"] == (288, 8192)
    assert shapes["dt_proj.weight"] == (8192, 256)
    assert shapes["dt_layernorm.weight"] == (256,)


def test_channels_are_divided_and_inner_norms_are_not() -> None:
    shapes = {t.name: t.per_rank(2) for t in JAMBA_MINI.parameters(4096)}
    assert shapes["in_proj.weight"] == (8192, 4096)
    assert shapes["x_proj.weight"] == (288, 4096)
    assert shapes["A_log"] == (4096, 16)
    assert shapes["dt_layernorm.weight"] == (256,)
    assert [t.per_rank(2) for t in JAMBA_MINI.cache()] == [(4096, 3), (4096, 16)]


def test_a_rank_wider_than_the_channels_is_a_problem() -> None:
    odd = Mamba1(
        kind="mamba1", intermediate_size=64, state_size=16, conv_kernel=4, time_step_rank=160
    )
    assert [name for name, _ in odd.check()] == ["time_step_rank"]
    assert not list(MAMBA_2_8B.check())
