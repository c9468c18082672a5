"""vLLM's rules one by one: formats, groups, block counts, versions, and what is refused."""

from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.formats import KvFormat
from kvcalc.engines.vllm.pool import capacity
from kvcalc.engines.vllm.versions import rules_for
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load

GIB = 1 << 30


def ask(model: str, memory: str = "40GiB", **flags: Any) -> CapacityResult:
    return capacity(load(model), VllmFlags(available=Available.parse(memory), **flags))


@pytest.mark.parametrize(
    ("name", "key_dim", "num_bytes"),
    [
        ("bf16", 128, 512),
        ("fp8", 128, 256),
        ("int8_per_token_head", 128, 264),  # data and an fp32 scale for K and for V
        ("int4_per_token_head", 128, 136),
        ("nvfp4", 128, 144),  # 64 + 8 bytes for each of K and V
        ("turboquant_4bit_nc", 256, 262),  # 130 + 132, confirmed by a log of 518,589 tokens
        ("turboquant_k8v4", 128, 196),  # 128 + 64 + 4
        ("turboquant_3bit_nc", 128, 102),  # 48 + 2 + 48 + 4
    ],
)
def test_bytes_of_a_head(name: str, key_dim: int, num_bytes: int) -> None:
    assert KvFormat(name).head_bytes(key_dim, key_dim) == num_bytes


@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [("bf16", 1152), ("fp8", 576), ("fp8_ds_mla", 656), ("nvfp4_ds_mla", 352)],
)
def test_bytes_of_a_latent(name: str, num_bytes: int) -> None:
    assert KvFormat(name).latent_bytes(512, 64) == num_bytes


def test_sparse_attention_adds_index_keys_where_a_layer_owns_an_indexer() -> None:
    # 61 * (656 + 132) and, with 21 of 78 layers indexing, 78 * 576 + 21 * 132 bytes a token: 48,068 and
    # 47,700, in blocks of 64
    v32 = ask("deepseek-v3.2", kv_dtype="fp8_ds_mla")
    glm = ask("glm-5.2", kv_dtype="fp8")
    assert v32.pool.bytes_per_block == 3_076_352
    assert glm.pool.bytes_per_block == 3_052_800
    assert [(group.mechanism, group.layers) for group in glm.groups] == [
        ("mla", 78),
        ("indexer", 21),
    ]


@pytest.mark.parametrize(
    ("ranks", "num_bytes", "copies"), [(1, 1048576, 0), (4, 262144, 0), (8, 262144, 1)]
)
def test_kv_heads_are_copied_beyond_their_number(ranks: int, num_bytes: int, copies: int) -> None:
    # Qwen3-30B-A3B: 48 layers, 4 KV heads: 2 * 4 * 128 * 2 * 16 * 48 = 1.5 MiB a block
    result = ask("qwen3-30b-a3b", layout=Layout(ranks), max_model_len=32768)
    assert result.pool.bytes_per_block == num_bytes * 3 // 2
    assert any(waste.cause == "replication" for waste in result.waste) == bool(copies)


@pytest.mark.parametrize(
    ("flags", "gib"),
    [
        ({"engine_version": "0.24.0"}, "14.2"),  # one batch of 8192 in flight
        ({"engine_version": "0.26.0"}, "18.0"),  # two, with asynchronous scheduling
        ({"engine_version": "0.26.0", "async_scheduling": False}, "14.2"),
        ({"engine_version": "0.26.0", "hybrid_manager": False}, "62.0"),
    ],
)
def test_what_a_window_reserves(flags: dict[str, Any], gib: str) -> None:
    """Gemma-3-27B at 131,072 tokens: 14.2 GiB, 18.0 GiB, and 62.0 GiB with windows billed as full."""
    result = ask("gemma-3-27b", max_model_len=131072, max_num_batched_tokens=8192, **flags)
    assert f"{result.pool.bytes_per_request / GIB:.1f}" == gib


def test_gemma_4_takes_longer_blocks_in_its_global_layers() -> None:
    # Gemma-4-31B: a window page of 16 * 16 * 2 * 256 * 2 bytes; the global one is half as large.
    result = ask("gemma-4-31b", max_model_len=32768)
    assert [(g.mechanism, g.block_tokens, g.page_bytes) for g in result.groups] == [
        ("gqa window 1024", 16, 262144),
        ("gqa", 32, 262144),
    ]


@pytest.mark.parametrize(
    ("version", "num_bytes", "tokens", "needed"),
    [
        # 22 tuples of 37,440 + 1,728 + 8,640; 22, 20 and 21 of them; 21 * 37,440 + 20 * 1,728 +
        # 21 * 8,640. Up to 0.28 the need is counted in whole tuples.
        ("0.22.0", 1051776, 396841, "3.4"),
        ("0.24.0", 1039680, 401457, "3.4"),
        ("0.28.0", 1002240, 189057, "6.66"),
        ("0.30.0", 1002240, 189057, "6.35"),
    ],
)
def test_deepseek_v4_packs_its_pages(
    version: str, num_bytes: int, tokens: int, needed: str
) -> None:
    """Tokens and need are what vLLM's own functions answered for these pages and 40 GiB."""
    pool = ask("deepseek-v4-flash", engine_version=version, max_model_len=30000).pool
    assert (pool.bytes_per_block, pool.block_tokens) == (num_bytes, 256)
    assert (pool.tokens, str(round(pool.bytes_per_request / GIB, 2))) == (tokens, needed)


def test_whisper_keeps_1500_frames_beside_its_own_tokens() -> None:
    result = ask("whisper-small", max_model_len=448)
    assert result.pool.blocks_per_request == 122  # of 448 and of 1,500 tokens, in 16s
    assert result.pool.bytes_per_block == 589_824


def test_shared_layers_have_no_pages() -> None:
    # Gemma 3n E2B: 20 of 30 layers own K and V, E4B 20 of 35.
    layers = {name: sum(g.layers for g in ask(name, max_model_len=8192).groups)
              for name in ("gemma-3n-e2b", "gemma-3n-e4b")}  # fmt: skip
    assert layers == {"gemma-3n-e2b": 20, "gemma-3n-e4b": 20}


def test_context_parallel_ranks_shard_tokens() -> None:
    one = ask("deepseek-v3", layout=Layout(8), max_model_len=65536)
    four = ask("deepseek-v3", layout=Layout(8), max_model_len=65536, decode_context_parallel=4)
    assert (one.pool.blocks_per_request, four.pool.blocks_per_request) == (4096, 1024)
    assert four.pool.tokens == 4 * one.pool.tokens


def test_fullest_stage_decides() -> None:
    # 94 layers over 4 stages: 23, 24, 24, 23; 24 layers of 2,048 bytes a token, 16 tokens a block
    result = ask("qwen3-235b-a22b", layout=Layout(1, 4), max_model_len=32768)
    assert result.pool.bytes_per_block == 786_432


@pytest.mark.parametrize(
    ("version", "prefix", "drafts", "states"),
    [("0.24", False, 0, 1), ("0.24", False, 2, 3), ("0.24", True, 3, 5), ("0.33", None, 0, 2)],
)
def test_states_of_a_request(version: str, prefix: bool | None, drafts: int, states: int) -> None:
    result = ask("qwen3.5-27b", engine_version=version, prefix_caching=prefix, max_model_len=65536,
                 speculative_tokens=drafts, mtp_layers=0, kv_dtype="fp8")  # fmt: skip
    recurrent = next(g for g in result.groups if g.mechanism == "gated_deltanet")
    assert recurrent.blocks_per_request == 3 * states  # 48 layers in three groups of 16


def test_a_model_without_attention_has_one_state_a_request() -> None:
    # mamba2-2.7b: 64 * (5376 * 3 + 80 * 64 * 128) * 2 bytes, all in the activations' format
    result = ask("mamba2-2.7b", max_model_len=8192)
    assert result.pool.bytes_per_block == 85950464
    assert result.pool.blocks_per_request == 1
    assert result.pool.tokens == 4_087_808


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        ("gemma-3-27b", {"max_model_len": 4000}),
        ("qwen3.6-27b", {"prefix_caching": True, "speculative_tokens": 3, "kv_dtype": "fp8"}),
        ("deepseek-v4-flash", {"max_model_len": 30001, "engine_version": "0.24"}),
        ("deepseek-v4-flash", {"max_model_len": 30001}),
        ("llama-4-scout", {"max_model_len": 100000, "layout": Layout(8)}),
        ("gpt-oss-120b", {"max_model_len": 5000, "mtp_layers": 1, "layout": Layout(1, 2)}),
    ],
)
def test_need_and_waste_add_up_to_what_a_request_takes(model: str, flags: dict[str, Any]) -> None:
    result = ask(model, "100GiB", **flags)
    parts = [w.bytes for w in result.waste if w.per_request and w.cause != "replication"]
    taken = result.pool.blocks_per_request * result.pool.bytes_per_block
    assert result.logical_bytes_per_request + sum(parts) == taken


def test_rounded_memory_gives_a_range_and_exact_memory_none() -> None:
    rounded, exact = ask("llama-3.1-8b", "5.98GiB"), ask("llama-3.1-8b", "6420000000")
    assert rounded.pool_range is not None
    assert [pool.num_blocks for pool in rounded.pool_range] == [3059, 3064]
    assert exact.pool_range is None
    assert exact.pool.num_blocks == 3061


@pytest.mark.parametrize(
    ("version", "from_concurrency"),
    [("0.20.0", False), ("0.20.1rc1.dev16+g7a1eb8ac2", False), ("0.20.1", True), ("~0.24", True)],
)
def test_versions(version: str, from_concurrency: bool) -> None:
    assert rules_for(version).tokens_from_concurrency is from_concurrency


def test_no_cache_no_pool() -> None:
    result = ask("bert-base-uncased")
    assert result.pool.num_blocks is None
    assert "no cache" in result.notes[-1]


@pytest.mark.parametrize(
    ("model", "flags", "error", "words"),
    [
        ("llama-3.1-8b", {"layout": Layout(3)}, UnsupportedError, "these do: 1, 2, 4, 8"),
        ("llama-3.1-8b", {"block_size": 24}, UsageError, "use 16 or 32"),
        ("deepseek-v3.2", {"block_size": 16}, UsageError, "multiples of 64"),
        ("llama-3.1-8b", {"kv_dtype": "fpp8"}, UsageError, "did you mean fp8"),
        ("llama-3.1-8b", {"kv_dtype": "fp8:bf16"}, UsageError, "one format"),
        ("llama-3.1-8b", {"kv_dtype": "fp8_ds_mla"}, UnsupportedError, "MLA latents"),
        ("deepseek-v3", {"kv_dtype": "nvfp4"}, UnsupportedError, "nvfp4_ds_mla"),
        (
            "gemma-3n-e2b",
            {"layout": Layout(1, 3)},
            UnsupportedError,
            "20, 21, 22, .* read layer 18's",
        ),
        ("llama-3.1-8b", {"layout": Layout(1, 40)}, UsageError, "32 layers"),
        ("llama-3.1-8b", {"layout": Layout(1, 2), "pipeline_partition": (1, 2)}, UsageError, "32"),
        ("llama-3.1-8b", {"decode_context_parallel": 2}, UsageError, "--dcp 2"),
        ("llama-3.1-8b", {"engine_version": "latest"}, UsageError, "0.33.0"),
        ("rwkv-6-7b", {}, UnsupportedError, "rwkv6"),
        ("t5-base", {}, UsageError, "--encoder-context"),
    ],
)
def test_refusals(model: str, flags: dict[str, Any], error: type[KvcalcError], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        ask(model, **{"max_model_len": 4096, **flags})


def test_memory_that_holds_no_block() -> None:
    with pytest.raises(UsageError, match="No available memory"):
        ask("llama-3.1-8b", "1MiB")


def test_flags_of_other_engines_are_refused() -> None:
    with pytest.raises(UsageError, match="vLLM has no --ctx-size"):
        VllmFlags.of("vLLM", {"ctx_size": 8192})
