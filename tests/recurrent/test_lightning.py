"""Lightning attention: states and parameters of MiniMax-Text-01."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.lightning import LightningAttention

MINIMAX = LightningAttention(kind="lightning", num_attention_heads=64, head_dim=128)


def test_state() -> None:
    (state,) = MINIMAX.cache()
    # transformers 5.23 measured [1, 64, 128, 128] in each of 70 layers, in the model's dtype.
    assert state.full_shape(1, 1) == (1, 64, 128, 128)
    assert 70 * state.position_bytes(CacheDtypes()) == 293_601_280
    assert 70 * state.position_bytes(CacheDtypes(state="bf16")) == 146_800_640


def test_parameters() -> None:
    # transformers 5.23 MiniMaxLightningAttention on the meta device: 17,616,650,240 in 70 layers.
    assert 70 * sum(t.numel for t in MINIMAX.parameters(6144)) == 17_616_650_240


def test_heads_are_divided() -> None:
    (state,) = MINIMAX.cache()
    assert state.per_rank(8) == (8, 128, 128)
    shapes = {t.name: t.per_rank(8) for t in MINIMAX.parameters(6144)}
    assert shapes == {
        "norm.weight": (1024,),
        "qkv_proj.weight": (3072, 6144),
        "out_proj.weight": (6144, 1024),
        "output_gate.weight": (1024, 6144),
    }
