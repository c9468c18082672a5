from dataclasses import replace
from typing import Any

from kvcalc.attention.moa import MixtureOfAttentionHeads

# jetmoe/jetmoe-8b: hidden_size 2048, 16 KV heads of 128, 2 of 8 experts.
JETMOE = MixtureOfAttentionHeads(
    kind="moa", num_attention_heads=32, num_key_value_heads=16, head_dim=128, num_experts=8,
    num_experts_per_tok=2,
)  # fmt: skip


def test_cache_is_not_multiplied_by_the_experts(sums: Any) -> None:
    # transformers 5.23 keeps keys of (1, 16, tokens, 128): 24 layers, 196,608 bytes a token in bf16.
    assert sums.bytes(JETMOE, 1, "bf16") * 24 == 196_608
    assert sums.shapes(JETMOE, 5) == {"key": (1, 16, 5, 128), "value": (1, 16, 5, 128)}


def test_parameters(sums: Any) -> None:
    # JetMoeAttention of transformers 5.23 at these sizes, from the meta device.
    assert sums.parameters(JETMOE, 2048) == 75_515_904


def test_a_token_passes_its_experts_only() -> None:
    active = sum(tensor.active_numel for tensor in JETMOE.parameters(2048))
    # Six of eight experts idle: 2 * 6 * 2048 * 2048 fewer.
    assert active == 75_515_904 - 50_331_648


def test_tensor_parallelism_divides_kv_heads(sums: Any) -> None:
    assert sums.per_rank(JETMOE, 4) == {"key": (4, 128), "value": (4, 128)}
    weights = sums.weights_per_rank(JETMOE, 2048, 4)
    assert weights["experts.input_linear"] == (8, 512, 2048)
    assert weights["experts.output_linear"] == (8, 2048, 512)
    assert weights["experts.router.weight"] == (8, 2048)


def test_findings() -> None:
    assert list(JETMOE.check()) == []
    assert [field for field, _ in replace(JETMOE, num_experts_per_tok=3).check()] == [
        "num_attention_heads"
    ]
    assert [field for field, _ in replace(JETMOE, num_experts=1).check()] == ["num_experts_per_tok"]
