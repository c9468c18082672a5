"""Gated short convolution: states as measured, parameters as the reference module lists them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.short_conv import ShortConv

LFM2_1_2B = ShortConv(kind="short_conv", hidden_size=2048, conv_L_cache=3)


def test_state() -> None:
    (conv,) = LFM2_1_2B.cache()
    # transformers 5.23 measured [1, 2048, 3] bf16, one column more: 122,880 on 10 layers.
    assert conv.full_shape(1, 1) == (1, 2048, 2)
    assert 10 * conv.position_bytes(CacheDtypes()) == 81_920


def test_parameters() -> None:
    # transformers 5.23 Lfm2ShortConv on the meta device: 167,833,600 in 10 layers.
    assert 10 * sum(t.numel for t in LFM2_1_2B.parameters(2048)) == 167_833_600


def test_biases() -> None:
    biased = ShortConv(kind="short_conv", hidden_size=48, conv_L_cache=3, conv_bias=True)
    # Lfm2ShortConv(hidden_size=48, conv_L_cache=3, conv_bias=True) on the meta device.
    assert [t.shape for t in biased.parameters(48)] == [
        (48, 1, 3), (48,), (144, 48), (144,), (48, 48), (48,),
    ]  # fmt: skip


def test_channels_are_divided() -> None:
    (conv,) = LFM2_1_2B.cache()
    assert conv.per_rank(2) == (1024, 2)
    shapes = {t.name: t.per_rank(2) for t in LFM2_1_2B.parameters(2048)}
    assert shapes["in_proj.weight"] == (3072, 2048)
    assert shapes["out_proj.weight"] == (2048, 1024)
