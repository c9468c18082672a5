"""DeltaNet: sizes of a published model, parameters as its reference module lists them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.delta_net import DeltaNet

# fla-hub/delta_net-1.3B-100B: hidden_size 2048, expand_k = expand_v = 1, conv_size 4, no gate.
FLA_1_3B = DeltaNet(kind="delta_net", num_heads=16, head_k_dim=128, head_v_dim=128, conv_size=4)


def test_state() -> None:
    # One less than fla's ShortConvolution, whose cache is [B, 2048, 4]; S is fp32.
    assert [t.full_shape(1, 1) for t in FLA_1_3B.cache()] == [
        (1, 2048, 3), (1, 2048, 3), (1, 2048, 3), (1, 16, 128, 128),
    ]  # fmt: skip
    assert sum(t.position_bytes(CacheDtypes()) for t in FLA_1_3B.cache()) == 1_085_440


def test_parameters() -> None:
    # fla/layers/delta_net.py: 4 matrices of 2048 x 2048, b_proj 16 x 2048, 3 x 2048 x 4 taps, 128.
    assert sum(t.numel for t in FLA_1_3B.parameters(2048)) == 16_834_688
    gated = DeltaNet(kind="delta_net", num_heads=4, head_k_dim=8, head_v_dim=16, conv_size=4,
                     use_gate=True)  # fmt: skip
    # q, k 32 x 48; v, g 64 x 48; o 48 x 64; b 4 x 48; taps 128 x 4; norm 16.
    assert sum(t.numel for t in gated.parameters(48)) == 13_008


def test_heads_are_divided() -> None:
    assert [t.per_rank(8) for t in FLA_1_3B.cache()] == [
        (256, 3), (256, 3), (256, 3), (2, 128, 128),
    ]  # fmt: skip
    shapes = {t.name: t.per_rank(8) for t in FLA_1_3B.parameters(2048)}
    assert shapes["q_conv1d.weight"] == (256, 1, 4)
    assert shapes["o_proj.weight"] == (2048, 256)
    assert shapes["o_norm.weight"] == (128,)
