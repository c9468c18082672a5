"""TensorRT-LLM: pasted logs replayed, and the rules that no log covers."""

from fractions import Fraction
from typing import Any

import pytest

from kvcalc.engines.request import Available, CapacityRequest
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tensorrt_llm import capacity
from kvcalc.errors import KvcalcError
from kvcalc.spec.catalog import locate


def run(model: str, **flags: Any) -> CapacityResult:
    return capacity(locate(model).spec, CapacityRequest(**flags))


def gib(result: CapacityResult) -> str:
    """As the log prints it."""
    return f"{(result.pool.bytes or 0) / (1 << 30):.2f}"


def test_159_llama_2_7b_to_the_byte() -> None:
    """Version 0.8: 69,524,783,104 bytes for 132,608 tokens.

    https://github.com/NVIDIA/TensorRT-LLM/issues/1400
    """
    result = run("llama-2-7b", tokens=132608, block_size=128, kv_dtype="fp16")
    assert (result.pool.tokens, result.pool.bytes) == (132608, 69524783104)


def test_160_nine_tenths_of_what_is_free_rounded_up() -> None:
    """70.48 GiB available, fraction 0.9: 4060 blocks of 64, 259,840 tokens, 63.44 GiB.

    Assumed: the fp8 cache. 0.9 * 70.48 GiB / 16 MiB is 4059.65, whatever 70.48 was rounded from.
    """
    result = run("llama-2-7b", available=Available.parse("70.48GiB"), block_size=64, kv_dtype="fp8")
    assert (result.pool.num_blocks, result.pool.tokens, gib(result)) == (4060, 259840, "63.44")
    assert result.pool_range is not None
    assert [pool.num_blocks for pool in result.pool_range] == [4060, 4060]


def test_161_a_quarter_of_what_is_free() -> None:
    """8.73 GiB available, fraction 0.25: 190,656 tokens, 2.18 GiB; 8.73 is rounded, so a range."""
    result = run("qwen2.5-0.5b", available=Available.parse("8.73GiB"), kv_dtype="fp16",
                 memory_utilization=Fraction(1, 4))  # fmt: skip
    assert result.pool_range is not None
    least, most = (pool.tokens or 0 for pool in result.pool_range)
    assert least <= 190656 <= most
    assert gib(run("qwen2.5-0.5b", tokens=190656, kv_dtype="fp16")) == "2.18"


def test_165_requested_tokens_are_rounded_up_to_a_block() -> None:
    """860,308 tokens requested: 860,320 allocated, 52.51 GiB.

    https://github.com/NVIDIA/TensorRT-LLM/issues/6294
    """
    result = run("llama-3.1-8b", tokens=860308, kv_dtype="fp8")
    assert (result.pool.tokens, gib(result)) == (860320, "52.51")


def test_166_tinyllama() -> None:
    """116,617 blocks, 3,731,744 tokens, 78.30 GiB. Assumed: the model, from 22,528 bytes a token.

    https://github.com/triton-inference-server/tutorials/pull/150
    """
    result = run("tinyllama-1.1b", tokens=3731744, kv_dtype="fp16")
    assert (result.pool.num_blocks, gib(result)) == (116617, "78.30")


def test_168_qwen_on_an_a4000() -> None:
    """395,776 tokens, 4.53 GiB: https://github.com/NVIDIA/TensorRT-LLM/issues/1188."""
    assert gib(run("qwen2.5-0.5b", tokens=395776, kv_dtype="fp16", block_size=64)) == "4.53"


def test_169_a_latent_in_fp8() -> None:
    """16,576 tokens, 0.54 GiB. Assumed: the model (DeepSeek-V3's dimensions) and the fp8 cache."""
    assert gib(run("deepseek-v3", tokens=16576, kv_dtype="fp8", block_size=64)) == "0.54"


def test_newer_versions_round_down() -> None:
    """int(860,308 // 32) = 26,884 blocks."""
    result = run("llama-3.1-8b", tokens=860308, kv_dtype="fp8", engine_version="1.2")
    assert result.pool.tokens == 860288


def test_heads_are_rounded_up_over_ranks() -> None:
    """llama-3-8b's 8 KV heads on 3 ranks are 3 each: 32 * 3 * 128 * 2 * 2 bytes a token."""
    result = run("llama-3-8b", tokens=32, tensor_parallel=3)
    assert result.pool.bytes_per_block == 32 * 49152
    assert result.waste[0].cause == "KV heads rounded up"


def test_windows_have_a_pool_each_with_an_equal_share() -> None:
    """gemma-3-27b in 20 GiB * 0.9: half to 52 window layers of 8192 bytes, half to 10 full ones.

    9,663,676,416 bytes are 22,685 and 117,964 tokens; in whole blocks of 32.
    """
    result = run("gemma-3-27b", available=Available.exactly(20 << 30), max_model_len=8192)
    assert {cache.name: cache.cells for cache in result.caches} == {
        "blocks (window 1024)": 22656,
        "blocks": 117952,
    }


def test_a_window_beyond_the_longest_request_is_none() -> None:
    result = run("gemma-3-27b", tokens=4096, max_model_len=1024)
    assert [(cache.name, cache.layers) for cache in result.caches] == [("blocks", 62)]


def test_states_are_kept_for_the_largest_batch() -> None:
    """nemotron-3-nano: 23 * (6144 * 3 * 2 + 64 * 64 * 128 * 4) bytes for each of 16 requests."""
    result = run("nemotron-3-nano", tokens=4096, max_num_seqs=16)
    states = next(cache for cache in result.caches if cache.type == "recurrent")
    assert states.bytes == 16 * 23 * (36864 + 2097152)


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("llama-3-8b", {}, "--available"),
        ("llama-3-8b", {"tokens": 64, "kv_dtype": "q8_0"}, "--kv-dtype q8_0"),
        ("llama-3-8b", {"tokens": 64, "ctx_size": 4096}, "TensorRT-LLM has no --ctx-size"),
        ("llama-3-8b", {"tokens": 64, "mtp_layers": 1}, "has no MTP layers"),
        ("gemma-4-e4b", {"tokens": 64}, "share K and V"),
        ("t5-small", {"tokens": 64}, "not accounted for"),
    ],
)
def test_refusals(model: str, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(KvcalcError, match=message):
        run(model, **flags)
