from typing import Any

import pytest

from kvcalc.attention.dsa import Indexer
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention


def attention(kind: Any, heads: int, kv_heads: int, head_dim: int, **more: Any) -> SoftmaxAttention:
    return SoftmaxAttention(
        kind=kind,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        **more,
    )


# Bytes of one token in bf16, summed over transformers 5.23's own cache, and the number of layers.
@pytest.mark.parametrize(
    ("mechanism", "layers", "bytes_per_token"),
    [
        (attention("gqa", 32, 8, 128), 32, 131_072),  # Llama-3-8B
        (attention("gqa", 64, 8, 128), 80, 327_680),  # Llama-3-70B
        (attention("mha", 32, 32, 128), 32, 524_288),  # Llama-2-7B
        (attention("mha", 64, 64, 128), 40, 1_310_720),  # Command-R-v01
        (attention("mqa", 71, 1, 64), 32, 8_192),  # Falcon-7B
        (attention("mqa", 8, 1, 256), 18, 18_432),  # Gemma-2B: 8 * 256 = hidden_size, d_h = 256
        (attention("gqa", 28, 4, 128), 28, 57_344),  # Qwen2.5-7B
    ],
)
def test_bytes_per_token(sums: Any, mechanism: Any, layers: int, bytes_per_token: int) -> None:
    assert sums.bytes(mechanism, 1, "bf16") * layers == bytes_per_token


# Parameters of one layer's self_attn, counted by transformers 5.23 on the meta device.
@pytest.mark.parametrize(
    ("mechanism", "hidden_size", "parameters"),
    [
        (attention("gqa", 32, 8, 128), 4096, 41_943_040),  # Llama-3-8B
        (attention("mqa", 8, 1, 256), 2048, 9_437_184),  # Gemma-2B
        (attention("gqa", 28, 4, 128, bias=("q", "k", "v")), 3584, 29_364_736),  # Qwen2.5-7B
        (attention("gqa", 32, 8, 128, qk_norm="per_head"), 4096, 41_943_296),  # Qwen3-8B
        (attention("mha", 32, 32, 128, qk_norm="full"), 4096, 67_117_056),  # OLMo-2-7B
        (  # gpt-oss-20b
            attention("gqa", 64, 8, 64, bias=("q", "k", "v", "o"), sinks=True),
            2880,
            26_550_144,
        ),
        (  # Qwen3-Next-80B, a full-attention layer
            attention("gqa", 16, 2, 256, qk_norm="per_head", output_gate="per_element"),
            2048,
            27_263_488,
        ),
    ],
)
def test_parameters(sums: Any, mechanism: Any, hidden_size: int, parameters: int) -> None:
    assert sums.parameters(mechanism, hidden_size) == parameters


def test_window_holds_the_current_token_too(sums: Any) -> None:
    # gpt-oss, W = 128, 2 * 8 * 64 elements a position; transformers holds 127 of them.
    layer = attention("gqa", 64, 8, 64, sliding_window=128)
    assert sums.elements(layer, 100) == 102_400
    assert sums.elements(layer, 128) == 131_072
    assert sums.elements(layer, 100_000) == 131_072


def test_chunk_and_sinks(sums: Any) -> None:
    # Llama 4: chunks of 8,192, 2 * 8 * 128 elements a position.
    chunked = attention("gqa", 40, 8, 128, attention_chunk_size=8192)
    assert sums.elements(chunked, 1_000_000) == 16_777_216
    # StreamingLLM: 4 sinks and 2,000 recent tokens of Llama-2-7B, 8,192 elements each.
    streaming = attention("mha", 32, 32, 128, sliding_window=2000, sink_tokens=4)
    assert sums.elements(streaming, 1_000_000) == 16_416_768


def test_unequal_value_width(sums: Any) -> None:
    # MiMo-V2-Flash, global layers: 4 KV heads, keys of 192, values of 128.
    layer = attention("gqa", 64, 4, 192, v_head_dim=128)
    assert sums.shapes(layer, 10) == {"key": (1, 4, 10, 192), "value": (1, 4, 10, 128)}


def test_layers_that_keep_nothing(sums: Any) -> None:
    assert sums.elements(attention("mha", 12, 12, 64, mask="bidirectional"), 512) == 0  # BERT
    shared = attention("gqa", 8, 2, 256, shared_kv="local")  # Gemma 3n, its last 15 layers
    assert sums.elements(shared, 512) == 0
    names = [tensor.name for tensor in shared.parameters(2048)]
    assert names == ["q_proj.weight", "o_proj.weight"]


def test_indexer_key_is_cached_beside_keys_and_values(sums: Any) -> None:
    # MiniMax-M3's sparse layers: 2 * 4 * 128 and one index key of 128.
    indexer = Indexer(index_n_heads=4, index_head_dim=128, index_topk=2048)
    assert sums.elements(attention("gqa", 64, 4, 128, indexer=indexer), 1) == 1152


def test_tensor_parallelism_copies_heads_when_there_are_too_few(sums: Any) -> None:
    layer = attention("gqa", 32, 8, 128)
    assert sums.per_rank(layer, 4)["key"] == (2, 128)
    assert sums.per_rank(layer, 16)["key"] == (1, 128)
    assert sums.per_rank(attention("mqa", 16, 1, 256), 8)["value"] == (1, 256)
    weights = sums.weights_per_rank(layer, 4096, 16)
    assert weights["q_proj.weight"] == (256, 4096)
    assert weights["k_proj.weight"] == (128, 4096)
    assert weights["o_proj.weight"] == (4096, 256)


@pytest.mark.parametrize(
    ("mechanism", "field"),
    [
        (attention("mha", 32, 8, 128), "num_key_value_heads"),
        (attention("mqa", 32, 8, 128), "num_key_value_heads"),
        (attention("gqa", 32, 5, 128), "num_key_value_heads"),
        (attention("gqa", 8, 16, 128), "num_key_value_heads"),
        (
            attention("gqa", 8, 4, 128, sliding_window=8, attention_chunk_size=8),
            "attention_chunk_size",
        ),
        (attention("gqa", 8, 4, 128, sink_tokens=4), "sink_tokens"),
        (attention("gqa", 8, 4, 128, v_head_dim=64, attention_k_eq_v=True), "attention_k_eq_v"),
    ],
)
def test_inconsistent_fields_are_named(mechanism: SoftmaxAttention, field: str) -> None:
    assert [name for name, _ in mechanism.check()] == [field]


@pytest.mark.parametrize(
    "mechanism",
    [
        attention("gqa", 32, 8, 128),
        attention("gqa", 32, 32, 128),
        attention("mha", 32, 32, 128),
        attention("mqa", 32, 1, 128),
        attention("gqa", 8, 4, 128, sliding_window=8, sink_tokens=4),
        attention("gqa", 8, 4, 128, attention_chunk_size=8),
        attention("gqa", 8, 4, 128, v_head_dim=64),
        attention("gqa", 8, 4, 128, attention_k_eq_v=True),
    ],
)
def test_consistent_fields_pass(mechanism: SoftmaxAttention) -> None:
    assert list(mechanism.check()) == []


@pytest.mark.parametrize(
    ("fields", "stored", "per_position", "positions"),
    [
        ({}, "K (after", "2 * n_kv * d_h", "every token"),
        ({"v_head_dim": 64}, "K (after", "n_kv * (d_k + d_v)", "every token"),
        ({"sliding_window": 512}, "K (after", "2 * n_kv * d_h", "last 512 tokens"),
        ({"mask": "bidirectional"}, "nothing: an encoder", "", ""),
        ({"shared_kv": "full"}, "nothing: K and V are those of the latest 'full' layer", "", ""),
    ],
)
def test_the_explanation_says_what_is_kept(
    fields: dict[str, Any], stored: str, per_position: str, positions: str
) -> None:
    explanation = attention("gqa", 8, 2, 128, **fields).explain()
    assert explanation.title == "grouped-query attention"
    assert explanation.stored.startswith(stored)
    assert (explanation.per_position, explanation.positions) == (per_position, positions)
    assert bool(explanation.symbols) == bool(per_position)
