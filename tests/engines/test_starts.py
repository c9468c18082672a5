"""What stops a server, or a request, before it runs: said with what helps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import kvcalc
from kvcalc.convert.locate import locate
from kvcalc.engines.request import Available
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.pool import capacity as trt_capacity
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load


def test_one_request_longer_than_the_pool() -> None:
    """llama-3-8b: 8,192 tokens need 512 blocks of 2 MiB and the null block; 512 of them are there."""
    found = kvcalc.capacity("llama-3-8b", "vllm", available="1GiB", max_model_len=8192)
    said = "vLLM stops with the estimate above; give --max-model-len 8176 or less or 2,097,152 bytes more"
    assert any(said in note for note in found.notes)
    assert found.pool.estimated_max_model_len == 8176
    roomy = kvcalc.capacity("llama-3-8b", "vllm", available="2GiB", max_model_len=8192)
    assert not any("not one request" in note for note in roomy.notes)


def test_sglang_starts_and_cuts_it() -> None:
    """1 GiB of llama-3-8b's 131,072 bytes a token are 8,192 tokens."""
    found = kvcalc.capacity("llama-3-8b", "sglang", available="1GiB", max_model_len=16384)
    assert any("requests of more than 8,191 tokens" in note for note in found.notes)
    assert any("--context-length 8192 or less" in note for note in found.notes)
    fits = kvcalc.capacity("llama-3-8b", "sglang", available="1GiB", max_model_len=8192)
    assert not any("more than" in note for note in fits.notes)


def test_a_step_has_a_token_of_each_request() -> None:
    """SchedulerConfig.verify_max_model_len."""
    with pytest.raises(UsageError, match="give 256 or more tokens, or 128 requests"):
        Plan(load("llama-3-8b"), VllmFlags(max_num_batched_tokens=128, max_num_seqs=256))
    Plan(load("llama-3-8b"), VllmFlags(max_num_batched_tokens=256, max_num_seqs=256))


def test_what_excluded_speculation_in_0_11() -> None:
    """GPUModelRunner.get_kv_cache_spec and EngineArgs of 0.11.0; gone in 0.12.0."""
    hybrid, plain = load("nemotron-h-8b"), load("llama-3-8b")
    with pytest.raises(UnsupportedError, match="no speculation with recurrent states"):
        Plan(hybrid, VllmFlags(engine_version="0.11.0", speculative_tokens=1))
    Plan(hybrid, VllmFlags(engine_version="0.12.0", speculative_tokens=1))
    Plan(load("qwen3-next-80b-a3b"), VllmFlags(engine_version="0.11.0", speculative_tokens=1))
    with pytest.raises(UsageError, match="no --async-scheduling with speculation"):
        Plan(plain, VllmFlags(engine_version="0.11.0", speculative_tokens=1, async_scheduling=True))
    with pytest.raises(UsageError, match="no --async-scheduling with pipeline ranks"):
        Plan(plain, VllmFlags(engine_version="0.11.0", layout=Layout(1, 2), async_scheduling=True))


@pytest.mark.parametrize(("version", "blocks"), [("0.27.0", 14), ("0.28.0", 15)])
def test_windows_keep_a_token_more_for_each_module(version: str, blocks: int) -> None:
    """window 128, blocks of 16, 64 tokens in flight: cdiv(127 + 64) + 1 = 13, and with three modules
    cdiv(127 + 2 + 64) + 1 = 14 from 0.28.0 on (SlidingWindowSpec.extra_retained_tokens)."""
    whole, mtp = load("gpt-oss-20b"), load("deepseek-v3").mtp
    assert mtp is not None
    spec = replace(whole, mtp=replace(mtp, num_layers=3, block="full"))
    flags = VllmFlags(
        engine_version=version, max_model_len=4096, max_num_batched_tokens=64, max_num_seqs=1,
        async_scheduling=False, speculative_tokens=3, mtp_layers=3,
    )  # fmt: skip
    plan = Plan(spec, flags)
    [window] = [group for group in plan.groups if group.page.kind == "window"][:1]
    assert plan.schedule.blocks(window.page, 4096) == blocks - 1


@pytest.mark.parametrize(("algo", "token"), [("FP8", 2048), ("NVFP4", 1152), (None, 4096)])
def test_tensorrt_llm_takes_what_the_checkpoint_declares(
    tmp_path: Path, algo: str | None, token: int
) -> None:
    """pyexecutor/model_loader.py, validate_and_set_kv_cache_quant: 8 heads of 128 and 128 elements."""
    stated = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
    config = {
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "vocab_size": 151936,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "quantization_config": {**stated, **({"kv_cache_quant_algo": algo} if algo else {})},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = locate(str(tmp_path / "config.json")).spec
    found = trt_capacity(spec, TensorrtLlmFlags(tokens=3200))
    assert found.pool.bytes == token * 36 * 3200
    assert any("as the checkpoint declares" in note for note in found.notes) == (algo is not None)
    plain = trt_capacity(spec, TensorrtLlmFlags(tokens=3200, kv_dtype="bf16"))
    assert plain.pool.bytes == 4096 * 36 * 3200


def test_tensorrt_llms_releases() -> None:
    """1.2 is known, and nothing is assumed of it; 1.3 is newer than what was read."""
    for version, assumed in ((None, False), ("1.2.1", False), ("1.3", True)):
        found = kvcalc.capacity(
            "llama-3-8b", "tensorrt-llm", available="8GiB", engine_version=version
        )
        assert any("is newer than" in note for note in found.notes) == assumed
        assert any("no release is named" in note for note in found.notes) == (version is None)


def test_memory_for_less_than_a_state_says_what_helps() -> None:
    """A request of Qwen3.6-27B needs blocks of states: with 1 GiB there are fewer than 256 requests."""
    memory = Available.exactly(8 << 30)
    found = kvcalc.capacity(
        "qwen3.6-27b", "vllm", available=memory.bytes, max_model_len=8192, max_num_seqs=512
    )
    assert any("--max-num-seqs" in note and "does not start" in note for note in found.notes)


def test_a_format_that_was_said_is_not_left_to_the_checkpoint(tmp_path: Path) -> None:
    """vLLM's auto takes the fp8 that ModelOpt declared; --kv-dtype bf16 does not."""
    config = {
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "vocab_size": 151936,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8",
                                "kv_cache_quant_algo": "FP8", "ignore": ["lm_head"]},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    path = str(tmp_path / "config.json")
    words = {"gpu": "l40s", "dtype": "fp8", "context_tokens": 32768}
    largest = [kvcalc.fit(path, **words, **more).largest_batch  # type: ignore[arg-type]
               for more in ({}, {"kv_dtype": "bf16"}, {"kv_dtype": "fp8"})]  # fmt: skip
    assert largest == [13, 6, 13]
