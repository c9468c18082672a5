import pytest

from kvcalc.stack.shared_adapter import SharedAdapter


# transformers 5.23 Zamba2ForCausalLM on the meta device: the adapters of one use and the layer's
# linear. Dimensions: transformers' defaults (2.7B), a benchmark's copy of the hub's config (7B).
@pytest.mark.parametrize(
    ("hidden_size", "intermediate_size", "attention", "parameters"),
    [
        (2560, 10_240, False, 9_502_720),
        (3584, 14_336, False, 16_973_824),
        (2048, 8192, True, 9_699_328),
    ],
    ids=["zamba2-2.7b", "zamba2-7b", "zamba2-1.2b"],
)
def test_published_models(
    hidden_size: int, intermediate_size: int, attention: bool, parameters: int
) -> None:
    adapter = SharedAdapter(
        adapter_rank=128,
        intermediate_size=intermediate_size,
        use_shared_attention_adapter=attention,
    )
    assert sum(t.numel for t in adapter.layer_parameters(hidden_size)) == parameters
    assert not list(adapter.model_parameters(hidden_size, 54))
    assert not list(adapter.check())


def test_attention_adapters_are_twice_as_wide() -> None:
    adapter = SharedAdapter(
        adapter_rank=128, intermediate_size=8192, use_shared_attention_adapter=True
    )
    shapes = {t.name: t.shape for t in adapter.layer_parameters(2048)}
    assert shapes["linear.weight"] == (2048, 2048)
    assert shapes["linear_k_adapter.0.weight"] == (128, 4096)
    assert shapes["linear_k_adapter.1.weight"] == (4096, 128)
    assert shapes["gate_up_proj_adapter.0.weight"] == (128, 2048)
    assert shapes["gate_up_proj_adapter.1.weight"] == (16_384, 128)


def test_tensor_parallelism() -> None:
    adapter = SharedAdapter(adapter_rank=128, intermediate_size=10_240)
    shapes = {t.name: t.per_rank(4) for t in adapter.layer_parameters(2560)}
    assert shapes == {
        "linear.weight": (2560, 2560),
        "gate_up_proj_adapter.0.weight": (32, 2560),
        "gate_up_proj_adapter.1.weight": (5120, 128),
    }


def test_a_rank_that_saves_nothing() -> None:
    adapter = SharedAdapter(adapter_rank=128, intermediate_size=128)
    assert [field for field, _ in adapter.check()] == ["adapter_rank"]
