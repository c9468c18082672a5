"""RWKV-7 time mixing: states and parameters as the RWKV-LM README counts them."""

from dataclasses import replace

import pytest

from kvcalc.dtypes import CacheDtypes
from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix
from kvcalc.recurrent.rwkv7 import Rwkv7

# RWKV-LM README: RWKV-7 V65536-L24-D1024, ranks 64, 32, 64 and 128.
GOOSE_0_4B = Rwkv7(
    kind="rwkv7", hidden_size=1024, num_heads=16, head_dim=64, decay_low_rank_dim=64,
    a_low_rank_dim=64, v_low_rank_dim=32, gate_low_rank_dim=128,
)  # fmt: skip
CHANNEL_MIX = RwkvChannelMix(
    kind="rwkv_channel_mix", hidden_size=1024, intermediate_size=4096, receptance=False
)


def test_state_elements() -> None:
    # README: L * (2*D + 64*D) = 1.622016 M.
    shift, state = GOOSE_0_4B.cache()
    (ffn_shift,) = CHANNEL_MIX.cache()
    assert state.shape == (16, 64, 64)
    assert 24 * (shift.shape[0] + 16 * 64 * 64 + ffn_shift.shape[0]) == 1_622_016
    assert 24 * state.position_bytes(CacheDtypes()) == 6_291_456


def test_parameters_of_the_whole_model() -> None:
    # README: 450.834432 M, of which the first layer's v0, v1 and v2 go unused: 450.767872 M.
    # Embedding and head 2 * 65536 * 1024; LayerNorms 2 * 1024 each: two a layer, one before the
    # first and one after the last.
    outside = 134_217_728 + 50 * 2048
    ffn = sum(t.numel for t in CHANNEL_MIX.parameters(1024))
    later = sum(t.numel for t in GOOSE_0_4B.parameters(1024)) + ffn
    first = sum(t.numel for t in replace(GOOSE_0_4B, value_residual=False).parameters(1024)) + ffn
    assert 24 * later + outside == 450_834_432
    assert first + 23 * later + outside == 450_767_872


def test_parameters_of_the_1_5b() -> None:
    # A converted rwkv7-g1 1.5b checkpoint (24 layers of 2048): 1,527,404,544 parameters.
    mixer = Rwkv7(
        kind="rwkv7", hidden_size=2048, num_heads=32, head_dim=64, decay_low_rank_dim=96,
        a_low_rank_dim=96, v_low_rank_dim=64, gate_low_rank_dim=256,
    )  # fmt: skip
    ffn = RwkvChannelMix(
        kind="rwkv_channel_mix", hidden_size=2048, intermediate_size=8192, receptance=False
    )
    later = sum(t.numel for t in mixer.parameters(2048))
    first = sum(t.numel for t in replace(mixer, value_residual=False).parameters(2048))
    shared = 24 * sum(t.numel for t in ffn.parameters(2048)) + 268_435_456 + 50 * 4096
    assert first + 23 * later + shared == 1_527_404_544


def test_heads_are_divided_and_the_token_shift_is_not() -> None:
    assert [t.per_rank(4) for t in GOOSE_0_4B.cache()] == [(1024,), (4, 64, 64)]
    shapes = {t.name: t.per_rank(4) for t in GOOSE_0_4B.parameters(1024)}
    assert shapes["w1"] == (1024, 64)
    assert shapes["w2"] == (64, 256)
    assert shapes["r_k"] == (4, 64)
    with pytest.raises(ValueError, match="16 cannot be divided among 3 ranks"):
        [t.per_rank(3) for t in GOOSE_0_4B.cache()]


def test_heads_must_make_the_hidden_size() -> None:
    assert [name for name, _ in replace(GOOSE_0_4B, num_heads=15).check()] == ["num_heads"]
    assert not list(GOOSE_0_4B.check())
