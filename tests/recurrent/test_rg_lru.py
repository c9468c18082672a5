"""RG-LRU: states as measured, parameters as the reference module lists them."""

from dataclasses import replace

import pytest

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.rg_lru import RgLru

RECURRENT_GEMMA_2B = RgLru(kind="rg_lru", lru_width=2560, num_attention_heads=10, conv1d_width=4)
RECURRENT_GEMMA_9B = RgLru(kind="rg_lru", lru_width=4096, num_attention_heads=16, conv1d_width=4)


def test_state() -> None:
    conv, state = RECURRENT_GEMMA_2B.cache()
    # transformers 5.23 measured [1, 2560, 3] bf16 and [1, 2560] fp32 on 18 layers: 460,800 bytes.
    assert conv.full_shape(1, 1) == (1, 2560, 3)
    assert state.full_shape(1, 1) == (1, 2560)
    assert 18 * sum(t.position_bytes(CacheDtypes()) for t in RECURRENT_GEMMA_2B.cache()) == 460_800


def test_parameters() -> None:
    # transformers 5.23 on the meta device: 377,994,240 in 18 layers, 1,364,320,256 in 26.
    assert 18 * sum(t.numel for t in RECURRENT_GEMMA_2B.parameters(2560)) == 377_994_240
    assert 26 * sum(t.numel for t in RECURRENT_GEMMA_9B.parameters(4096)) == 1_364_320_256


def test_gate_blocks_are_divided() -> None:
    assert [t.per_rank(2) for t in RECURRENT_GEMMA_2B.cache()] == [(1280, 3), (1280,)]
    shapes = {t.name: t.per_rank(2) for t in RECURRENT_GEMMA_2B.parameters(2560)}
    assert shapes["rg_lru.input_gate_weight"] == (5, 256, 256)
    assert shapes["linear_out.bias"] == (2560,)
    with pytest.raises(ValueError, match="10 cannot be divided among 4 ranks"):
        [t.per_rank(4) for t in RECURRENT_GEMMA_2B.cache()]


def test_blocks_must_divide_the_channels() -> None:
    odd = replace(RECURRENT_GEMMA_2B, num_attention_heads=7)
    assert [name for name, _ in odd.check()] == ["num_attention_heads"]
