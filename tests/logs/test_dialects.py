"""Words of each engine that the public logs here do not have: written from the engines' sources."""

import pytest

from kvcalc.errors import UsageError
from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.read import answer_of


def read(text: str, **asked: str) -> LogAnswer:
    return answer_of([text.encode()], **asked)


def test_sglang_tells_the_pools_of_windows_apart() -> None:
    """gpt-oss-120b on 4 A100: 63,987 tokens in full, 51,189 in the window's pool (case 153)."""
    answer = read(
        "server_args=ServerArgs(model_path='openai/gpt-oss-120b', kv_cache_dtype='auto', tp_size=4)\n"
        "[TP0] Use sliding window memory pool. full_layer_tokens=63987, swa_layer_tokens=51189\n"
        "[TP0] KV Cache is allocated. #tokens: 51189, K size: 0.21 GB, V size: 0.21 GB\n"
        "[TP0] KV Cache is allocated. #tokens: 63987, K size: 0.27 GB, V size: 0.27 GB\n"
        "[TP0] SWAKVPool mem usage: 0.99 GB, swa size: 51189, full size: 63987\n"
    )
    # 18 layers of 2 heads of 64 in bf16: 51,190 slots of 4,608 bytes are 0.2197 GB, not 0.21.
    wrong = [(each.line, each.quantity) for each in answer.observations if not each.agrees]
    assert wrong == [(3, "k_bytes"), (3, "v_bytes")]
    assert {each.change.split()[0] for each in answer.advice} >= {
        "--kv-cache-dtype",
        "--swa-full-tokens-ratio",
    }


def test_ollamas_own_engine_names_devices() -> None:
    """Qwen3-8B with two slots of 4,096: 36 layers, 8 KV heads of 128, f16: 1.125 GiB in two parts."""
    answer = read(
        '$ ollama run qwen3:8b\n'
        'time=2025-06-05T12:36:11Z level=INFO source=server.go:431 msg="starting llama server" '
        'cmd="/usr/local/bin/ollama runner --ollama-engine --model /blobs/sha256-e8 --ctx-size 8192 '
        '--batch-size 512 --n-gpu-layers 37 --parallel 2 --port 35253"\n'
        'time=2025-06-05T12:36:12Z level=INFO source=ggml.go:92 msg="" architecture=qwen3 '
        'file_type=Q4_K_M name="" description="" num_tensors=399\n'
        'time=2025-06-05T12:36:14Z level=INFO source=backend.go:342 msg="kv cache" device=CUDA0 '
        'size="800.0 MiB"\n'
        'time=2025-06-05T12:36:14Z level=INFO source=backend.go:342 msg="kv cache" device=CUDA1 '
        'size="352.0 MiB"\n'
    )  # fmt: skip
    assert (answer.model, answer.words, answer.flags["ctx_size"]) == ("qwen3-8b", "Ollama", 8192)
    assert [(each.predicted, each.agrees) for each in answer.observations] == [(1207959552, True)]


def test_windows_billed_whole_are_what_limits() -> None:
    answer = read(
        "vllm serve google/gemma-3-27b-it --disable-hybrid-kv-cache-manager\n"
        "Initializing a V1 LLM engine (v0.11.0) with config: model='google/gemma-3-27b-it', "
        "dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=2, kv_cache_dtype=auto, \n"
        "Available KV cache memory: 12.00 GiB\n"
    )
    assert (
        "81 % of a request is beyond what the attention needs: windows billed as full"
        in answer.verdict[1]
    )
    assert answer.advice[0].change == "--no-disable-hybrid-kv-cache-manager"


def test_the_rank_with_the_least_memory_decides() -> None:
    """Qwen3-8B on 2 ranks: 1,179,648 bytes a block; 5.00 GiB hold 4,551."""
    log = (
        "Initializing a V1 LLM engine (v0.11.0) with config: model='Qwen/Qwen3-8B', dtype=torch.bfloat16, "
        "max_seq_len=8192, tensor_parallel_size=2, kv_cache_dtype=auto, \n"
        "(Worker_TP0 pid=8) Available KV cache memory: 5.20 GiB\n"
        "(Worker_TP1 pid=9) Available KV cache memory: 5.00 GiB\n"
        "(EngineCore_DP0 pid=7) GPU KV cache size: 72,816 tokens\n"
    )
    answer = read(log)
    assert [each.agrees for each in answer.observations] == [True, True, True]
    assert answer.observations[0].reason == "other ranks have less, which decides"


def test_a_layer_count_that_is_another_models() -> None:
    with pytest.raises(UsageError, match="line 2 says n_layer = 40, and qwen3-8b has 36"):
        read(
            "loaded meta data with 1 key-value pairs and 1 tensors from Qwen3-8B-Q4_K_M.gguf (version\n"
            "print_info: n_layer          = 40\n"
            "llama_kv_cache: size = 1.00 MiB ( 256 cells, 1 layers, 1/1 seqs), K (f16): 0.50 MiB, "
            "V (f16): 0.50 MiB\n"
        )


def test_no_room_for_a_cache_is_no_small_cache() -> None:
    """vLLM prints what is left of its share below nothing, too."""
    answer = read(
        "Initializing a V1 LLM engine (v0.11.0) with config: model='meta-llama/Llama-3.1-8B-Instruct', "
        "dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, kv_cache_dtype=auto, \n"
        "Model loading took 14.9889 GiB and 12.7 seconds\n"
        "Available KV cache memory: -2.81 GiB\n"
    )
    assert answer.verdict[0].startswith("No room is left for the cache: 1.00 GiB are needed")
    assert [each.agrees for each in answer.observations] == [None, True]
    # Half of the weights, less what is missing: 4.68 GiB on each of two devices, 65,536 bytes a token.
    assert answer.advice[0].change == "--tensor-parallel-size 2"
    assert answer.advice[0].effect.startswith("9.37x at 8,192 tokens")
