"""Lines as people quote them in threads: shortened, without the arguments, of one pool after another."""

from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.read import answer_of


def read(text: str, **asked: str) -> LogAnswer:
    return answer_of([text.encode()], **asked)


def figures(answer: LogAnswer) -> list[tuple[str, object, bool | None]]:
    return [(each.quantity, each.predicted, each.agrees) for each in answer.observations]


def test_a_cache_without_its_halves() -> None:
    """gpt-oss-120b at 65,536 cells, quoted in a start script: 18 layers of 8 heads of 64 each."""
    answer = read(
        "llama-server -c 65535 -ub 512\n"
        "llama_kv_cache: size = 2304.00 MiB (65536 cells, 18 layers, 4/1 seqs)\n"
        "llama_kv_cache: size =   36.00 MiB ( 1024 cells, 18 layers, 4/1 seqs)  <- 2% of it\n",
        model="gpt-oss-120b",
    )
    assert figures(answer) == [("bytes", 2415919104, True), ("bytes", 37748736, True)]


def test_seqs_say_slots_and_streams() -> None:
    """Gemma 4 12B in q8_0: 8 layers of 68 MiB, 40 of windows; 4 slots hold 4 windows and a batch."""
    answer = read(
        "llama_kv_cache: size =   68.00 MiB ( 8192 cells,  8 layers, 4/1 seqs)\n"
        "llama_kv_cache: size =  765.00 MiB ( 4608 cells, 40 layers, 4/1 seqs)\n",
        model="gemma-4-12b",
    )
    assert figures(answer) == [("bytes", 71303168, True), ("bytes", 802160640, True)]
    assert answer.assumed == (
        "--cache-type-k q8_0: not in the log, and the figures agree with it",
        "--cache-type-v q8_0: not in the log, and the figures agree with it",
        "--ctx-size 8192: not in the log, and the figures agree with it",
    )


def test_a_file_of_before_latents_were_kept() -> None:
    """deepseek-coder-v2:16b: 8 streams of 2,048 cells, 27 layers of 16 heads of 192 and 128."""
    line = (
        "llama_kv_cache: size = 4320.00 MiB (  2048 cells,  27 layers,  8/8 seqs), "
        "K (f16): 2592.00 MiB, V (f16): 1728.00 MiB\n"
    )
    answer = read(line, model="deepseek-v2-lite")
    assert figures(answer) == [
        ("bytes", 4529848320, True), ("k_bytes", 2717908992, True), ("v_bytes", 1811939328, True),
    ]  # fmt: skip
    assert answer.assumed[0].startswith("the file: it keeps every head's keys and values")


def test_sglang_makes_the_windows_pool_first_up_to_0_5_16() -> None:
    """Gemma 4 E4B: 35 layers of 2 heads of 256, then 7 of 512."""
    answer = read(
        "[TP0] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 644444, K size: 21.51 GB, "
        "V size: 21.51 GB\n"
        "[TP0] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 805556, K size: 10.76 GB, "
        "V size: 10.76 GB\n",
        model="gemma-4-e4b",
    )
    sizes = [each.predicted for each in answer.observations if each.quantity == "k_bytes"]
    assert sizes == [23096908800, 11548465152]
    assert not answer.disagrees


def test_gemma_4s_assistants_keep_no_cache() -> None:
    """gemma-4-31B on two Arc B70 with its assistant: layers of the drafter read the model's caches."""
    answer = read(
        "vllm serve RedHatAI/gemma-4-31B-it-FP8-Dynamic --tensor-parallel-size 2 --max-model-len 163840 "
        "--enable-prefix-caching --max-num-seqs 16 --max-num-batched-tokens 8192 --speculative-config "
        '\'{"model": "google/gemma-4-31B-it-assistant", "num_speculative_tokens": 4}\'\n'
        "Available KV cache memory: 10.12 GiB\n"
        "GPU KV cache size: 169,314 tokens\n"
        "Maximum concurrency for 163,840 tokens per request: 1.03x\n"
    )
    assert ("tokens", 169314, True) in figures(answer)


def test_draft_layers_explain_a_log_without_its_arguments() -> None:
    """Qwen3.6-27B-FP8 on two H200: what its author called an unexplained gap of 11 %."""
    answer = read(
        "INFO vllm.v1.worker.gpu_worker : Available KV cache memory: 110.59 GiB\n"
        "INFO vllm.v1.core.kv_cache_utils : GPU KV cache size: 3,233,564 tokens\n"
        "INFO vllm.v1.core.kv_cache_utils : Maximum concurrency for 184,320 tokens per request: 17.54x\n",
        model="Qwen/Qwen3.6-27B-FP8", flags="--tensor-parallel-size 2",
    )  # fmt: skip
    assert ("tokens", 3233564, True) in figures(answer)
    assert (
        "--speculative-config with 2 draft tokens: not in the log, and the figures agree with it"
        in answer.assumed
    )


def test_a_quantised_name_given_beside_the_log_says_what_is_not_known() -> None:
    answer = read("Model loading took 5.71 GiB memory\nGPU KV cache size: 34,848 tokens\n",
                  model="Qwen/Qwen3-8B-AWQ", flags="--max-model-len 4096")  # fmt: skip
    loaded = [each for each in answer.observations if each.quantity == "loaded_bytes"]
    assert [(each.predicted, each.reason) for each in loaded] == [
        (None, "the checkpoint's format is not in the log: --model with its config.json")
    ]


def test_auto_is_what_a_quantised_checkpoint_declares() -> None:
    """GLM-4.7-NVFP4 over 4 ranks: 92 layers of 2 heads of 128 each, a byte a number."""
    answer = read(
        "Initializing a V1 LLM engine (v0.15.1) with config: model='Salyut1/GLM-4.7-NVFP4', "
        "tensor_parallel_size=4, quantization=modelopt_fp4, kv_cache_dtype=auto, \n"
        "Available KV cache memory: 31.99 GiB\n"
        "GPU KV cache size: 729,248 tokens\n"
    )
    assert ("tokens", 729248, True) in figures(answer)
    assert answer.assumed == (
        "--kv-cache-dtype auto: fp8, which the checkpoint declares; the figures agree with it",
    )
