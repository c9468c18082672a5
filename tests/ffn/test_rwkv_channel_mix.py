"""RWKV channel mixing: parameters as the reference module lists them, its own token shift."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix

RWKV4_169M = RwkvChannelMix(kind="rwkv_channel_mix", hidden_size=768, intermediate_size=3072)


def test_parameters() -> None:
    # transformers 5.23 RwkvFeedForward on the meta device.
    assert sum(t.numel for t in RWKV4_169M.parameters(768)) == 5_309_952
    assert {t.component for t in RWKV4_169M.parameters(768)} == {"ffn"}


def test_rwkv7_has_no_gate() -> None:
    # RWKV-LM RWKV_CMix_x070, D = 1024: x_k, key and value, 2 * 4096 * 1024 + 1024.
    mix = RwkvChannelMix(
        kind="rwkv_channel_mix", hidden_size=1024, intermediate_size=4096, receptance=False
    )
    assert sum(t.numel for t in mix.parameters(1024)) == 8_389_632


def test_token_shift() -> None:
    # transformers 5.23 keeps [B, 768] per layer in the model's dtype.
    (shift,) = RWKV4_169M.cache()
    assert shift.full_shape(3, 1) == (3, 768)
    assert shift.position_bytes(CacheDtypes()) == 1536


def test_the_inner_width_is_divided() -> None:
    shapes = {t.name: t.per_rank(4) for t in RWKV4_169M.parameters(768)}
    assert shapes["key.weight"] == (768, 768)
    assert shapes["value.weight"] == (768, 768)
    assert shapes["receptance.weight"] == (768, 768)
    (shift,) = RWKV4_169M.cache()
    assert shift.per_rank(4) == (768,)
