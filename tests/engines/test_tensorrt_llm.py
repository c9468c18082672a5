"""TensorRT-LLM: the rules that no log covers; test_tensorrt_llm_logs.py replays the logs."""

from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.pool import capacity
from kvcalc.errors import KvcalcError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import locate


def run(model: str, **flags: Any) -> CapacityResult:
    common = {name: flags.pop(name) for name in ("available", "layout") if name in flags}
    common |= {"engine_version": flags.pop("engine_version", None)}
    return capacity(locate(model).spec, TensorrtLlmFlags.of("TensorRT-LLM", flags, **common))


def test_newer_versions_round_down() -> None:
    """int(860,308 // 32) = 26,884 blocks."""
    result = run("llama-3.1-8b", tokens=860308, kv_dtype="fp8", engine_version="1.2")
    assert result.pool.tokens == 860288


def test_heads_are_rounded_up_over_ranks() -> None:
    """llama-3-8b's 8 KV heads on 3 ranks are 3 each: 49,152 bytes a token, in blocks of 32."""
    result = run("llama-3-8b", tokens=32, layout=Layout(3))
    assert result.pool.bytes_per_block == 1_572_864
    assert result.waste[0].cause == "KV heads rounded up"


@pytest.mark.parametrize(("version", "window", "full"), [("1.1", 709, 3687), ("1.2", 708, 3686)])
def test_windows_have_a_pool_each_with_an_equal_share(version: str, window: int, full: int) -> None:
    """gemma-3-27b in 20 GiB * 0.9: half to 52 window layers of 8192 bytes, half to 10 full ones.

    9,663,676,416 bytes are 22,685 and 117,964 tokens: 708.9 and 3686.4 blocks of 32.
    """
    result = run("gemma-3-27b", available=Available.exactly(20 << 30), max_model_len=8192,
                 engine_version=version)  # fmt: skip
    assert {cache.name: cache.cells for cache in result.caches} == {
        "blocks (window 1024)": window * 32,
        "blocks": full * 32,
    }


def test_shares_before_equal_ones_are_refused() -> None:
    with pytest.raises(KvcalcError, match="by their sizes"):
        run("gemma-3-27b", available=Available.exactly(20 << 30), max_model_len=8192,
            engine_version="1.0")  # fmt: skip


def test_a_window_beyond_the_longest_request_is_none() -> None:
    result = run("gemma-3-27b", tokens=4096, max_model_len=1024)
    assert [(cache.name, cache.layers) for cache in result.caches] == [("blocks", 62)]


def test_states_are_kept_for_the_largest_batch() -> None:
    """nemotron-3-nano: 23 * (6144 * 3 * 2 + 64 * 64 * 128 * 4) bytes for each of 16 requests."""
    result = run("nemotron-3-nano", tokens=4096, max_num_seqs=16)
    states = next(cache for cache in result.caches if cache.type == "recurrent")
    assert states.bytes == 785_317_888


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
