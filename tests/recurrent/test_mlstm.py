"""mLSTM: states as measured, parameters as the reference module lists them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.mlstm import Mlstm

XLSTM_7B = Mlstm(kind="mlstm", num_heads=8, qk_head_dim=256, v_head_dim=512)


def test_state() -> None:
    # transformers 5.23 measured (1, 8, 256, 512), (1, 8, 256) and (1, 8, 1) in 32 layers, in bf16.
    assert [t.full_shape(1, 1) for t in XLSTM_7B.cache()] == [
        (1, 8, 256, 512), (1, 8, 256), (1, 8, 1),
    ]  # fmt: skip
    half = CacheDtypes(state="bf16")
    assert 32 * sum(t.position_bytes(half) for t in XLSTM_7B.cache()) == 67_240_448
    assert 32 * sum(t.position_bytes(CacheDtypes()) for t in XLSTM_7B.cache()) == 134_480_896


def test_parameters() -> None:
    # transformers 5.23 xLSTMLayer on the meta device; the second with wider values and biases.
    assert sum(t.numel for t in XLSTM_7B.parameters(4096)) == 67_178_512
    biased = Mlstm(kind="mlstm", num_heads=4, qk_head_dim=8, v_head_dim=32, use_bias=True)
    assert sum(t.numel for t in biased.parameters(64)) == 29_832


def test_heads_are_divided() -> None:
    assert [t.per_rank(4) for t in XLSTM_7B.cache()] == [(2, 256, 512), (2, 256), (2, 1)]
    shapes = {t.name: t.per_rank(4) for t in XLSTM_7B.parameters(4096)}
    assert shapes["q.weight"] == (512, 4096)
    assert shapes["igate_preact.bias"] == (2,)
    assert shapes["out_proj.weight"] == (4096, 1024)
