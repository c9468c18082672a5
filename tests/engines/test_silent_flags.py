"""No flag of ``kvcalc capacity`` is taken in silence: a note names each that changes nothing."""

import pytest

import kvcalc
from kvcalc.errors import UsageError

SAME = "without it the answer is the same"


@pytest.mark.parametrize(
    ("engine", "flags", "said"),
    [
        # Llama 3 8B has 32 equal layers of full attention: no window, no state.
        ("vllm", {"state_dtype": "bf16"}, "--state-dtype"),
        ("vllm", {"hybrid_manager": True}, "--hybrid-manager"),
        ("vllm", {"prefix_caching": False}, "--no-prefix-caching"),
        ("vllm", {"speculative_tokens": 3}, "--speculative-tokens"),
        ("vllm", {"max_num_seqs": 9}, "--max-num-seqs"),
        ("sglang", {"window_ratio": "0.5"}, "--window-ratio"),
        ("sglang", {"state_ratio": "0.5"}, "--state-ratio"),
        ("tensorrt-llm", {"hybrid_manager": False}, "--no-hybrid-manager"),
        ("lmdeploy", {"max_num_seqs": 64, "tensor": 2}, None),
        ("vllm", {"block_size": 32}, None),
        ("vllm", {"kv_dtype": "fp8"}, None),
    ],
)
def test_of_plain_attention(engine: str, flags: dict[str, object], said: str | None) -> None:
    found = kvcalc.capacity("llama-3-8b", engine, available="20GiB", **flags)  # type: ignore[arg-type]
    named = [note.split()[0] for note in found.notes if note.endswith(SAME)]
    assert named == ([] if said is None else [said])


def test_ranks_that_divide_no_latent_are_said() -> None:
    found = kvcalc.capacity("deepseek-v2-lite", available="20GiB", tensor=2)
    assert "--tp changes nothing here (ranks that divide heads): " + SAME in found.notes
    alone = kvcalc.capacity("deepseek-v2-lite", available="20GiB")
    # 27 layers * 16 tokens * 576 * 2 bytes a block, one for the null block: (20 * 2**30) // 497,664.
    assert found.pool.num_blocks == alone.pool.num_blocks == 43151


def test_what_is_said_in_numbers_is_no_silence() -> None:
    # TensorRT-LLM keeps states beside the blocks: its note has their bytes.
    found = kvcalc.capacity("qwen3.6-27b", "tensorrt-llm", available="20GiB", state_dtype="bf16")
    assert not [note for note in found.notes if note.endswith(SAME)]
    assert any("78,446,592 bytes" in note for note in found.notes)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm", "exllamav3"])
def test_no_engine_keeps_states_in_one_byte(engine: str) -> None:
    # vLLM 0.33 config/cache.py, MambaDType; SGLang 0.5.23 configs/mamba_utils.py, mamba2_state_dtype.
    with pytest.raises(
        UsageError, match="--state-dtype fp8: engines keep recurrent states in fp32"
    ):
        kvcalc.capacity("qwen3.6-27b", engine, available="20GiB", state_dtype="fp8")
