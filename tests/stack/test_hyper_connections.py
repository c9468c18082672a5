import pytest

from kvcalc.stack.hyper_connections import HyperConnections


# transformers 5.23 DeepseekV4ForCausalLM on the meta device with the published dimensions:
# tensors named attn_hc.* and ffn_hc.* of one layer, and hc_head.*.
@pytest.mark.parametrize(
    ("hidden_size", "layer", "model"),
    [(4096, 786_486, 65_541), (7168, 1_376_310, 114_693)],
    ids=["deepseek-v4-flash", "deepseek-v4-pro"],
)
def test_published_models(hidden_size: int, layer: int, model: int) -> None:
    mhc = HyperConnections(hc_mult=4)
    assert sum(t.numel for t in mhc.layer_parameters(hidden_size)) == layer
    assert sum(t.numel for t in mhc.final_parameters(hidden_size)) == model


def test_shapes_of_the_checkpoint() -> None:
    # DeepSeek-V4-Pro: hc_attn_fn [24, 28672], hc_head_fn [4, 28672].
    mhc = HyperConnections(hc_mult=4)
    shapes = {t.name: t.shape for t in mhc.layer_parameters(7168)}
    assert shapes["attn_hc.fn"] == (24, 28672)
    assert shapes["ffn_hc.base"] == (24,)
    head = {t.name: t.shape for t in mhc.final_parameters(7168)}
    assert head == {"hc_head.hc_fn": (4, 28672), "hc_head.hc_base": (4,), "hc_head.hc_scale": (1,)}


def test_one_stream_is_refused() -> None:
    assert [field for field, _ in HyperConnections(hc_mult=1).check()] == ["hc_mult"]
    assert not list(HyperConnections(hc_mult=4).check())


def test_a_mean_folds_the_streams_without_weights() -> None:
    # GLM-5.3-Flash (transformers 5.23, Glm5NextTextHyperHead).
    assert not list(HyperConnections(hc_mult=4, fold="mean").final_parameters(4096))


def test_gates_of_a_rank_per_channel() -> None:
    # Qwen3.8-Flash-Next (transformers 5.23, Qwen4ExpTextGatedResidual on the meta device).
    gated = HyperConnections(hc_mult=4, hc_lowrank=320)
    assert sum(tensor.numel for tensor in gated.layer_parameters(2560)) == 13_209_600
    assert sum(tensor.numel for tensor in gated.final_parameters(2560)) == 6_563_840
    both = HyperConnections(hc_mult=4, hc_lowrank=320, fold="mean")
    assert [field for field, _ in both.check()] == ["fold"]
