from dataclasses import replace
from typing import Any

from kvcalc.attention.cca import CompressedConvolutionalAttention

# transformers 5.23 ZayaConfig, whose defaults are Zyphra/ZAYA1-8B.
ZAYA1 = CompressedConvolutionalAttention(
    kind="cca",
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=128,
    cca_time0=2,
    cca_time1=2,
)


def test_shapes_as_measured(sums: Any) -> None:
    # transformers 5.23, a ZayaForCausalLM with these heads after 11 tokens, in bf16.
    assert sums.shapes(ZAYA1, 11) == {
        "key": (1, 2, 11, 128),
        "value": (1, 2, 11, 128),
        "conv_state": (1, 1280, 2),
        "delayed_value": (1, 128),
    }


def test_bytes(sums: Any) -> None:
    # (2 * 2 * 128 + 1280 * 2 + 128) * 2 bytes for one token, 1,024 for each further one.
    assert sums.bytes(ZAYA1, 1, "bf16") == 6_400
    assert sums.bytes(ZAYA1, 131_072, "bf16") == 134_223_104


def test_window(sums: Any) -> None:
    # ZAYA1's hybrid_sliding layers: 4,096 positions of 512; the convolutions' 2,560 and the delayed
    # half of V, 128, stay as they are.
    assert sums.elements(replace(ZAYA1, sliding_window=4096), 100_000) == 2_099_840


def test_parameters(sums: Any) -> None:
    # ZayaAttention on the meta device; the second with biases, three KV heads and longer taps.
    assert sums.parameters(ZAYA1, 2048) == 5_575_682
    other = CompressedConvolutionalAttention(
        kind="cca",
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=8,
        cca_time0=3,
        cca_time1=4,
        attention_bias=True,
    )
    assert sums.parameters(other, 96) == 16_683
    shapes = {tensor.name: tensor.shape for tensor in ZAYA1.parameters(2048)}
    assert shapes["qkv_proj.conv_qk_grouped.weight"] == (1280, 128, 2)
    assert shapes["qkv_proj.v_proj_delayed.weight"] == (128, 2048)


def test_every_rank_holds_all_of_it(sums: Any) -> None:
    # vLLM's ZAYA1 (pull request 41999): "CCA is fully replicated".
    assert sums.per_rank(ZAYA1, 8)["key"] == (2, 128)
    assert sums.weights_per_rank(ZAYA1, 2048, 8)["o_proj.weight"] == (2048, 1024)


def test_check() -> None:
    assert not list(ZAYA1.check())
    wrong = {"num_key_value_heads": 3}, {"num_key_value_heads": 1, "head_dim": 127}, {
        "cca_time0": 1, "cca_time1": 1,
    }  # fmt: skip
    fields = [field for each in wrong for field, _ in replace(ZAYA1, **each).check()]
    assert fields == ["num_key_value_heads", "head_dim", "cca_time0"]
