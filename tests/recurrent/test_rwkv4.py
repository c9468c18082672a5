"""RWKV-4 time mixing: states as measured, parameters as the reference module lists them."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix
from kvcalc.recurrent.rwkv4 import Rwkv4

RWKV4_169M = Rwkv4(kind="rwkv4", hidden_size=768, attention_hidden_size=768)
CHANNEL_MIX = RwkvChannelMix(kind="rwkv_channel_mix", hidden_size=768, intermediate_size=3072)


def test_state_bytes() -> None:
    # transformers 5.23 measured 147,456 on 12 layers: two token shifts in bf16, a, b and p in fp32.
    time_mix = sum(t.position_bytes(CacheDtypes()) for t in RWKV4_169M.cache())
    channel_mix = sum(t.position_bytes(CacheDtypes()) for t in CHANNEL_MIX.cache())
    assert 12 * (time_mix + channel_mix) == 147_456
    assert 12 * time_mix == 129_024


def test_parameters() -> None:
    # transformers 5.23 RwkvSelfAttention on the meta device.
    assert sum(t.numel for t in RWKV4_169M.parameters(768)) == 2_363_136


def test_parameters_of_the_whole_model() -> None:
    # RwkvForCausalLM, RWKV-4-169m: 169,342,464; embedding and head 2 * 50277 * 768, LayerNorms
    # 2 * 768 each: two a layer, one before the first and one after the last.
    layer = sum(t.numel for t in RWKV4_169M.parameters(768))
    layer += sum(t.numel for t in CHANNEL_MIX.parameters(768))
    assert 12 * layer + 77_225_472 + 26 * 1536 == 169_342_464


def test_channels_are_divided_and_the_token_shift_is_not() -> None:
    assert [t.per_rank(2) for t in RWKV4_169M.cache()] == [(768,), (384,), (384,), (384,)]
    shapes = {t.name: t.per_rank(2) for t in RWKV4_169M.parameters(768)}
    assert shapes["time_decay"] == (384,)
    assert shapes["time_mix_key"] == (1, 1, 768)
    assert shapes["output.weight"] == (768, 384)
