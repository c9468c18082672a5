"""Mamba-2: states as measured, parameters as the reference module lists them."""

import pytest

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.mamba2 import Mamba2

MAMBA2_2_7B = Mamba2(
    kind="mamba2", num_heads=80, head_dim=64, state_size=128, n_groups=1, conv_kernel=4
)
CODESTRAL = Mamba2(
    kind="mamba2", num_heads=128, head_dim=64, state_size=128, n_groups=8, conv_kernel=4
)


def test_state_shapes_and_bytes() -> None:
    conv, ssm = MAMBA2_2_7B.cache()
    # transformers 5.23 measured [1, 5376, 4] bf16 (one column more) and [1, 80, 64, 128] fp32.
    assert conv.full_shape(1, 1) == (1, 5376, 3)
    assert ssm.full_shape(1, 1) == (1, 80, 64, 128)
    # 170,524,672 measured on 64 layers, less 64 * 5376 * 2 for the extra column.
    assert 64 * sum(t.position_bytes(CacheDtypes()) for t in MAMBA2_2_7B.cache()) == 169_836_544
    # mamba-codestral-7B: 273,678,336 measured, less 64 * 10240 * 2.
    assert 64 * sum(t.position_bytes(CacheDtypes()) for t in CODESTRAL.cache()) == 272_367_616


def test_parameters() -> None:
    # transformers 5.23 Mamba2Mixer on the meta device.
    assert sum(t.numel for t in MAMBA2_2_7B.parameters(2560)) == 40_214_000


def test_falcon_h1_has_no_gated_norm() -> None:
    falcon = Mamba2(
        kind="mamba2", num_heads=24, head_dim=64, state_size=128, n_groups=1, conv_kernel=4,
        gated_norm=False,
    )  # fmt: skip
    # transformers 5.23, Falcon-H1-0.5B: 180,516,384 in 36 layers.
    assert 36 * sum(t.numel for t in falcon.parameters(1024)) == 180_516_384


def test_heads_are_divided_and_groups_are_copied() -> None:
    conv, ssm = MAMBA2_2_7B.cache()
    # Two ranks: 2560 channels of x each, and the one group's B and C (2 * 128) on both.
    assert conv.per_rank(2) == (2816, 3)
    assert ssm.per_rank(2) == (40, 64, 128)
    conv, _ = CODESTRAL.cache()
    assert conv.per_rank(2) == (5120, 3)


def test_heads_that_do_not_divide_are_refused() -> None:
    _, ssm = MAMBA2_2_7B.cache()
    with pytest.raises(ValueError, match="80 cannot be divided among 3 ranks; 2 and 4 do"):
        ssm.per_rank(3)


def test_groups_must_divide_the_heads() -> None:
    odd = Mamba2(
        kind="mamba2", num_heads=80, head_dim=64, state_size=128, n_groups=3, conv_kernel=4
    )
    assert [name for name, _ in odd.check()] == ["n_groups"]
