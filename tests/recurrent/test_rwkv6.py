"""RWKV-6 time mixing: states and parameters of the released sizes."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix
from kvcalc.recurrent.rwkv6 import Rwkv6

# fla-hub/rwkv6-7B-finch config.json: 32 layers of 4096, 64 heads, ranks 64 and 128, 3.5 * 4096.
FINCH_7B = Rwkv6(
    kind="rwkv6", hidden_size=4096, num_heads=64, head_dim=64,
    proj_low_rank_dim=64, gate_low_rank_dim=128,
)  # fmt: skip
CHANNEL_MIX = RwkvChannelMix(kind="rwkv_channel_mix", hidden_size=4096, intermediate_size=14336)


def test_state() -> None:
    shift, state = FINCH_7B.cache()
    # fla layers/rwkv6.py: conv_state [B, 4096], recurrent_state [B, 64, 64, 64].
    assert shift.full_shape(1, 1) == (1, 4096)
    assert state.full_shape(1, 1) == (1, 64, 64, 64)
    (ffn_shift,) = CHANNEL_MIX.cache()
    layer = sum(t.position_bytes(CacheDtypes()) for t in (shift, state, ffn_shift))
    assert 32 * layer == 34_078_720


def test_parameters_of_the_whole_model() -> None:
    # Published as 7.6 B. Embedding and head 2 * 65536 * 4096; LayerNorms 2 * 4096 each: two a
    # layer, one before the first and one after the last.
    layer = sum(t.numel for t in FINCH_7B.parameters(4096))
    layer += sum(t.numel for t in CHANNEL_MIX.parameters(4096))
    assert 32 * layer + 536_870_912 + 66 * 8192 == 7_635_746_816


def test_parameter_shapes() -> None:
    # RWKV-LM RWKV-v5/src/model.py, RWKV_Tmix_x060.
    shapes = {t.name: t.shape for t in FINCH_7B.parameters(4096)}
    assert shapes["time_maa_w1"] == (4096, 320)
    assert shapes["time_maa_w2"] == (5, 64, 4096)
    assert shapes["time_decay_w2"] == (128, 4096)
    assert shapes["time_faaaa"] == (64, 64)


def test_heads_are_divided_and_the_token_shift_is_not() -> None:
    assert [t.per_rank(4) for t in FINCH_7B.cache()] == [(4096,), (16, 64, 64)]
    shapes = {t.name: t.per_rank(4) for t in FINCH_7B.parameters(4096)}
    assert shapes["time_decay_w1"] == (4096, 128)
    assert shapes["time_decay_w2"] == (128, 1024)
    assert shapes["gate.weight"] == (1024, 4096)
