"""tpu-inference: what its own functions said of pages, replayed.

tests/engines/tpu_inference.json is written by `python -m tests.engines.tpu_inference_measured`.
"""

import json
from functools import cache
from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.tpu_inference.flags import TpuFlags
from kvcalc.engines.tpu_inference.pool import capacity
from kvcalc.engines.tpu_inference.rows import RELEASE, kept_of, page_tokens
from kvcalc.engines.workload import workload_cache
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from kvcalc.spec.loader import load_spec_text
from tests.engines import tpu_inference_measured as measured

_WORDS = {"bfloat16": "bf16", "float8_e4m3fn": "fp8"}


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(measured.FILE.read_text("utf-8"))
    return found


@cache
def one_layer(attention: str) -> Any:
    """A model of one layer."""
    return load_spec_text(
        "name: one\nsource: none\ntie_word_embeddings: true\nhidden_size: 64\n"
        "vocab_size: 8\nmax_position_embeddings: 4096\nblocks:\n  a:\n"
        f"    attention: {attention}\n    ffn: {{kind: gated, intermediate_size: 8}}\n"
        "layers:\n  - {repeat: 1, blocks: [a]}\n"
    )


def test_the_table_is_of_the_release_that_is_known() -> None:
    assert table()["tpu-inference"] == measured.RELEASE == RELEASE


def test_pages_of_heads() -> None:
    for heads, width, dtype, chips, tokens, size in table()["pages"]:
        spec = one_layer(
            f"{{kind: gqa, num_attention_heads: {heads * 2}, num_key_value_heads: {heads}, "
            f"head_dim: {width}}}"
        )
        flags = TpuFlags(kv_dtype=_WORDS[dtype], layout=Layout(chips))
        if size is None:
            with pytest.raises(UnsupportedError, match="evenly over chips"):
                kept_of(spec, flags)
        else:
            assert kept_of(spec, flags)[0].row_bytes * tokens * chips == size, (
                heads,
                width,
                dtype,
                chips,
            )


def test_pages_of_latents() -> None:
    for width, dtype, tokens, size in table()["latents"]:
        spec = one_layer(
            f"{{kind: mla, num_attention_heads: 4, kv_lora_rank: {width - 32}, q_lora_rank: null, "
            f"qk_nope_head_dim: 32, "
            "qk_rope_head_dim: 32, v_head_dim: 32}"
        )
        flags = TpuFlags(kv_dtype=_WORDS[dtype], block_size=tokens)
        if tokens % 32:
            with pytest.raises(UsageError, match="multiples of 32: 32"):
                page_tokens(spec, flags)
        else:
            assert kept_of(spec, flags)[0].row_bytes * page_tokens(spec, flags) == size


def test_tokens_of_a_page() -> None:
    llama, deepseek = load("llama-3-8b"), load("deepseek-v3")
    for length, requests, tokens, of_latents in table()["tokens"]:
        flags = TpuFlags(max_model_len=length, max_num_seqs=requests)
        assert page_tokens(llama, flags) == tokens
        assert page_tokens(deepseek, flags) == of_latents


def test_a_head_of_80_takes_128_lanes() -> None:
    """phi-2: 32 layers of 32 heads of 80, 1,000 tokens: pages of 64, 1.6 times the need and the rest."""
    found = workload_cache("tpu-inference", load("phi-2"), Workload(context_tokens=1000))
    assert found.bytes == 32 * 1024 * 2 * 32 * 128 * 2
    assert found.logical_bytes == 32 * 1000 * 2 * 32 * 80 * 2


def test_a_pool() -> None:
    """llama-3-8b: pages of 16 tokens of 32 layers are 2 MiB; 8 GiB hold 4,096 of them."""
    flags = TpuFlags(available=Available.exactly(8 << 30), max_model_len=16384, max_num_seqs=64)
    pool = capacity(load("llama-3-8b"), flags).pool
    assert (pool.num_blocks, pool.bytes_per_block, pool.tokens) == (4096, 2_097_152, 65_536)
    assert pool.max_concurrency == 4


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gemma-3-1b", "groups of windows"),
        ("qwen3-next-80b-a3b", "not for gated_deltanet, gqa"),
        ("glm-5.2", "index keys"),
        ("t5-base", "all layers are attention"),
    ],
)
def test_what_is_not_accounted_for_is_refused(model: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        kept_of(load(model), TpuFlags())


def test_what_makes_no_sense_is_refused() -> None:
    spec = load("llama-3-8b")
    with pytest.raises(UsageError, match="say --max-num-seqs"):
        page_tokens(spec, TpuFlags())
    with pytest.raises(UsageError, match="are accounted for"):
        kept_of(spec, TpuFlags(kv_dtype="int8"))
    with pytest.raises(UsageError, match="at most 131072"):
        page_tokens(spec, TpuFlags(max_num_seqs=1_000_000))
    with pytest.raises(UnsupportedError, match=r"accounted for in 0\.32\.0"):
        kept_of(spec, TpuFlags(engine_version="0.30.0"))
