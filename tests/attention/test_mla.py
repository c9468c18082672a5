from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.dsa import Indexer
from kvcalc.attention.mla import MultiHeadLatentAttention


def mla(
    heads: int, q_rank: int | None, kv_rank: int, nope: int, rope: int, value: int, **more: Any
) -> MultiHeadLatentAttention:
    return MultiHeadLatentAttention(
        kind="mla",
        num_attention_heads=heads,
        q_lora_rank=q_rank,
        kv_lora_rank=kv_rank,
        qk_nope_head_dim=nope,
        qk_rope_head_dim=rope,
        v_head_dim=value,
        **more,
    )


DEEPSEEK_V3 = mla(128, 1536, 512, 128, 64, 128)
V2_LITE = mla(16, None, 512, 128, 64, 128)
MINICPM3 = mla(40, 768, 256, 64, 32, 64)
GLM_5 = mla(64, 2048, 512, 192, 64, 256)


# Bytes of one token in bf16, summed over transformers 5.23's own cache, and the number of layers.
@pytest.mark.parametrize(
    ("mechanism", "layers", "bytes_per_token"),
    [(DEEPSEEK_V3, 61, 70_272), (V2_LITE, 27, 31_104), (MINICPM3, 62, 35_712)],
)
def test_bytes_per_token(sums: Any, mechanism: Any, layers: int, bytes_per_token: int) -> None:
    assert sums.bytes(mechanism, 1, "bf16") * layers == bytes_per_token


def test_expanded_layout_is_71_times_the_latent(sums: Any) -> None:
    # transformers up to 5.14.1: 128 * 192 + 128 * 128 elements a token and layer of DeepSeek-V3.
    expanded = replace(DEEPSEEK_V3, cache_layout="expanded")
    assert sums.elements(expanded, 1) == 40_960
    assert sums.elements(DEEPSEEK_V3, 1) == 576
    assert sums.per_rank(expanded, 8) == {"key": (16, 192), "value": (16, 128)}


# Parameters of one layer's self_attn, counted by transformers 5.23 on the meta device.
def test_parameters(sums: Any) -> None:
    assert sums.parameters(DEEPSEEK_V3, 7168) == 187_107_328
    assert sums.parameters(V2_LITE, 2048) == 13_763_072


def test_fp8_ds_mla_row_is_656_bytes(sums: Any) -> None:
    # vLLM: 512 e4m3, 4 fp32 scales, 64 bf16.
    assert sums.bytes(DEEPSEEK_V3, 1, "fp8_ds_mla") == 656


def test_tensor_parallelism_replicates_the_latent(sums: Any) -> None:
    assert sums.per_rank(DEEPSEEK_V3, 8) == {"latent": (512,), "rope_key": (64,)}
    weights = sums.weights_per_rank(DEEPSEEK_V3, 7168, 8)
    assert weights["kv_a_proj_with_mqa.weight"] == (576, 7168)
    assert weights["kv_b_proj.weight"] == (4096, 512)
    assert weights["o_proj.weight"] == (7168, 2048)


def test_the_popular_shorthand_is_judged() -> None:
    assert "holds here: 4.5 * 128 = 576" in DEEPSEEK_V3.explain().notes[0]
    assert "wrong here: 4.5 * 192 = 864, true 576" in GLM_5.explain().notes[0]
    # Four heads of 128 in the latent, but a rotary key of 32 and not of 64.
    assert "true 544" in replace(DEEPSEEK_V3, qk_rope_head_dim=32).explain().notes[0]
    assert replace(DEEPSEEK_V3, cache_layout="expanded").explain().notes == ()


def test_inconsistent_fields_are_named() -> None:
    indexer = Indexer(index_n_heads=64, index_head_dim=128, index_topk=2048)
    bad = replace(V2_LITE, indexer=indexer, bias=("q_a",))
    assert [field for field, _ in bad.check()] == ["indexer", "bias"]
    assert list(DEEPSEEK_V3.check()) == []
