from typing import Any

import pytest

from kvcalc.attention.dsa import Indexer
from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.engines.pooled import refuse_pools
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.gguf.model import architecture_of
from kvcalc.spec import catalog
from kvcalc.tensors import EVERY_TOKEN

INDEXER = Indexer(index_n_heads=64, index_head_dim=128, index_topk=2048)
DEEPSEEK_V32 = MultiHeadLatentAttention(
    kind="mla",
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    indexer=INDEXER,
)


def test_bytes_per_token(sums: Any) -> None:
    # 61 layers in bf16, summed over transformers 5.23's own cache.
    assert sums.bytes(DEEPSEEK_V32, 1, "bf16") * 61 == 85_888
    # vLLM, fp8_ds_mla: 656 for the latent and 132 for the index key.
    assert sums.bytes(DEEPSEEK_V32, 1, "fp8_ds_mla") * 61 == 48_068


def test_parameters(sums: Any) -> None:
    # One layer's self_attn, counted by transformers 5.23 on the meta device; the indexer's own
    # part is what DeepSeek-V3.2 has more than V3: (671,877,929,216 - 671,026,404,352) / 61.
    assert sums.parameters(DEEPSEEK_V32, 7168) == 201_066_752
    assert sum(tensor.numel for tensor in INDEXER.parameters(7168, 1536)) == 13_959_424


def test_top_k_does_not_change_the_cache(sums: Any) -> None:
    assert sums.elements(DEEPSEEK_V32, 100_000) == 70_400_000
    assert sums.per_rank(DEEPSEEK_V32, 8)["index_key"] == (128,)


def test_an_indexer_that_norms_queries_and_keys_and_weighs_no_heads() -> None:
    # MiniMax-M3 (transformers 5.23, models/minimax_m3_vl, the indexer's two projections and two
    # RMSNorms of a head): 4 index heads of 128 made from 6,144 channels.
    indexer = Indexer(
        index_n_heads=4, index_head_dim=128, index_topk=2048, norm=False, qk_norm=True,
        head_weights=False,
    )  # fmt: skip
    assert {tensor.name: tensor.shape for tensor in indexer.parameters(6144, 6144)} == {
        "wq_b.weight": (512, 6144),
        "wk.weight": (128, 6144),
        "q_norm.weight": (128,),
        "k_norm.weight": (128,),
    }


GLM_5_3_FLASH = MultiHeadLatentAttention(
    kind="mla",
    num_attention_heads=64,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=256,
    qk_rope_head_dim=0,
    v_head_dim=256,
    indexer=Indexer(
        index_n_heads=32, index_head_dim=128, index_topk=2048, index_kpool=4, pooling="gated"
    ),
)


def test_keys_that_are_pooled_by_gates(sums: Any) -> None:
    # GLM-5.3-Flash, one layer's self_attn in transformers 5.23 on the meta device with index_kpool 4.
    assert sums.parameters(GLM_5_3_FLASH, 4096) == 124_914_432
    # Of 1,003 tokens: a latent of 512 each, 250 pooled keys, key and gate of three tokens.
    held = {t.name: t.extent.positions(1003, 0) * t.shape[0] for t in GLM_5_3_FLASH.cache()}
    assert held == {
        "latent": 513_536, "index_key": 32_000, "index_buffer_key": 384, "index_buffer_gate": 384,
    }  # fmt: skip


def test_keys_that_are_pooled_by_their_mean() -> None:
    # Qwen4-Exp (transformers 5.23, Qwen4ExpTextQSAIndexer): no gate is kept, and no weights are learned.
    indexer = Indexer(
        index_n_heads=4, index_head_dim=128, index_topk=2048, norm=False, qk_norm=True,
        head_weights=False, index_kpool=4, pooling="mean",
    )  # fmt: skip
    assert sum(tensor.numel for tensor in indexer.parameters(2560, 2560)) == 1_638_656
    names = [tensor.name for tensor in indexer.cache(EVERY_TOKEN)]
    assert names == ["index_key", "index_buffer_key"]


def test_a_pool_and_how_it_is_made_go_together() -> None:
    half = Indexer(index_n_heads=4, index_head_dim=128, index_topk=2048, index_kpool=4)
    assert [field for field, _ in half.check()] == ["indexer"]


def test_engines_refuse_pooled_keys_by_name() -> None:
    with pytest.raises(
        UnsupportedError, match="vLLM's cache of index keys that are pooled over 4 tokens"
    ):
        refuse_pools("vLLM", GLM_5_3_FLASH)
    with pytest.raises(UnsupportedError, match="latents without a rotary key"):
        refuse_pools("vLLM", changed(GLM_5_3_FLASH, indexer=None))
    refuse_pools("vLLM", DEEPSEEK_V32)


def test_llama_cpp_has_the_architecture_and_its_file_is_not_accounted_for() -> None:
    # llama.cpp v0.5.0, llama-arch.cpp: glm5-next.
    with pytest.raises(
        UnsupportedError, match="makes of model_type glm5_next is not accounted for"
    ):
        architecture_of(catalog.load("glm-5.3-flash"))
