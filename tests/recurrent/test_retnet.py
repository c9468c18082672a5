"""Retention: the paper's sizes."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.recurrent.retnet import RetNet

# Sun et al. 2023, table 2 and section 3.1: 6.7B has 32 layers of 4096, heads of 256 and 512.
RETNET_6_7B = RetNet(kind="retnet", num_heads=16, head_k_dim=256, head_v_dim=512)


def test_state() -> None:
    (state,) = RETNET_6_7B.cache()
    assert state.full_shape(2, 1) == (2, 16, 256, 512)
    assert 32 * state.position_bytes(CacheDtypes()) == 268_435_456


def test_parameters() -> None:
    # The paper allots 8 d^2 to retention (Q and K d^2, V, gate and output 2 d^2 each), d = 4096.
    assert sum(t.numel for t in RETNET_6_7B.parameters(4096)) == 134_217_728


def test_norm_weight_is_one_head_wide() -> None:
    weighted = RetNet(kind="retnet", num_heads=16, head_k_dim=256, head_v_dim=512, norm_weight=True)
    assert sum(t.numel for t in weighted.parameters(4096)) == 134_218_240


def test_heads_are_divided() -> None:
    (state,) = RETNET_6_7B.cache()
    assert state.per_rank(4) == (4, 256, 512)
    shapes = {t.name: t.per_rank(4) for t in RETNET_6_7B.parameters(4096)}
    assert shapes["v_proj.weight"] == (2048, 4096)
    assert shapes["out_proj.weight"] == (4096, 2048)
