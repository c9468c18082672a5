from dataclasses import replace
from typing import Any

from kvcalc.attention.cross import CrossAttention

T5_BASE = CrossAttention(kind="cross", num_attention_heads=12, num_key_value_heads=12, head_dim=64)
WHISPER_LARGE = CrossAttention(
    kind="cross",
    num_attention_heads=20,
    num_key_value_heads=20,
    head_dim=64,
    bias=("q", "v", "o"),
)
LLAMA_VISION = CrossAttention(
    kind="cross", num_attention_heads=32, num_key_value_heads=8, head_dim=128, qk_norm="per_head"
)
# transformers' T5GemmaConfig defaults: decoder of 2304, 8 heads of 256 in 4 groups.
T5GEMMA = CrossAttention(kind="cross", num_attention_heads=8, num_key_value_heads=4, head_dim=256)


def test_only_the_encoder_tokens_count(sums: Any) -> None:
    # T5-base, 12 layers in bf16: 4,423,680 bytes measured with 100 encoder and 20 decoder tokens
    # (transformers 5.23), 100/120 of it in cross-attention.
    assert sums.elements(T5_BASE, 20, 100) * 12 * 2 == 3_686_400
    assert sums.elements(T5_BASE, 5000, 100) * 12 * 2 == 3_686_400
    # Whisper-large-v3: 32 layers and 1,500 frames, 245.8 MB in bf16.
    assert sums.elements(WHISPER_LARGE, 1, 1500) * 32 * 2 == 245_760_000


def test_parameters(sums: Any) -> None:
    # Counted by transformers 5.23 on meta: WhisperAttention, MllamaTextCrossAttention,
    # T5GemmaCrossAttention with an encoder of 1,000.
    assert sums.parameters(WHISPER_LARGE, 1280) == 6_557_440
    assert sums.parameters(LLAMA_VISION, 4096) == 41_943_296
    assert sum(tensor.numel for tensor in T5GEMMA.parameters(2304, 1000)) == 11_485_184


def test_tensor_parallelism(sums: Any) -> None:
    assert sums.per_rank(LLAMA_VISION, 16) == {"cross_key": (1, 128), "cross_value": (1, 128)}
    assert sums.weights_per_rank(LLAMA_VISION, 4096, 4)["k_proj.weight"] == (256, 4096)


def test_inconsistent_fields_are_named() -> None:
    bad = replace(LLAMA_VISION, num_key_value_heads=5)
    assert [field for field, _ in bad.check()] == ["num_key_value_heads"]
    assert list(T5_BASE.check()) == []
