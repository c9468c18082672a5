"""``kvcalc capacity --gpu``: the memory for the cache worked out from an accelerator."""

import json
from typing import Any

import pytest

from kvcalc.cli.app import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main(["capacity", *arguments, "--format", "json"])
    status = ended.value.code
    assert isinstance(status, int)
    return status, json.loads(capsys.readouterr().out)


def test_vllm_on_an_h100(capsys: pytest.CaptureFixture[str]) -> None:
    """llm-d-planner's startup of Llama-3.1-8B at 0.95 left 58.11 GiB; at 0.9, less the graphs that
    vLLM subtracts since 0.21, 58.11 - 3.96 - 0.91 = 53.24 GiB: 27,258 blocks of 2 MiB.
    """
    status, answer = run(capsys, "llama-3.1-8b", "--engine", "vllm", "--gpu", "h100")
    assert status == 0
    least, most = (pool["num_blocks"] for pool in answer["pool_range"])
    assert least <= 27258 <= most
    assert any(
        note.startswith("overheads carried over from H100, vLLM 0.19") for note in answer["notes"]
    )


@pytest.mark.parametrize(
    ("model", "flags", "blocks"),
    [("llama-3.1-8b", (), 29751), ("llama-3.1-8b", ("--tp", "2"), 65293),
     ("llama-3.1-8b", ("--tp", "4"), 138112), ("qwen2.5-7b", (), 68500),
     ("qwen2.5-7b", ("--tp", "4"), 315187), ("phi-4", (), 15098), ("granite-3.1-8b", (), 24027),
     ("deepseek-v2-lite", (), 94097), ("gemma-2-2b", (), 83770)],
)  # fmt: skip
def test_the_startups_that_the_overheads_were_measured_in(
    capsys: pytest.CaptureFixture[str], model: str, flags: tuple[str, ...], blocks: int
) -> None:
    """Blocks as vLLM 0.19 logged them on an H100 at 0.95 (llm-d-planner, accuracy/results/v0.19.0)."""
    status, answer = run(
        capsys, model, "--gpu", "h100", "--engine-version", "0.19.0", "--memory-utilization", "0.95",
        "--max-model-len", "8192", *flags,
    )  # fmt: skip
    assert status == 0
    least, most = (pool["num_blocks"] for pool in answer["pool_range"])
    assert least <= blocks <= most
    assert "overheads measured on an H100 with vLLM 0.19" in answer["notes"][-1]


def test_a_share_of_what_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    """TensorRT-LLM: 8.73 GiB available, fraction 0.25; 5958 blocks were logged."""
    status, answer = run(
        capsys, "qwen2.5-0.5b", "--engine", "tensorrt-llm", "--available", "8.73GiB",
        "--kv-dtype", "fp16", "--memory-utilization", "0.25",
    )  # fmt: skip
    assert status == 0
    least, most = (pool["num_blocks"] for pool in answer["pool_range"])
    assert least <= 5958 <= most


def test_context_is_the_longest_request_or_the_cells(capsys: pytest.CaptureFixture[str]) -> None:
    vllm = run(capsys, "llama-3-8b", "--available", "8GiB", "--context", "4k")[1]
    assert vllm["max_model_len"] == 4096
    cells = run(capsys, "llama-3-8b", "--engine", "llama.cpp", "--context", "4k")[1]
    assert cells["pool"]["tokens"] == 4096


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "llama.cpp", "--gpu", "h100", "--dtype", "fp8"), "say --dtype q4_k_m"),
        (("--gpu", "h100", "--gpu-memory", "80GiB"), "not both"),
        (("--available", "9GiB", "--memory-utilization", "0.9"), "leave one of them out"),
        (
            ("--gpu", "h100", "--available", "9GiB", "--memory-utilization", "0.9"),
            "leave one of them out",
        ),
        (("--gpu", "h100", "--available", "9GiB", "--dtype", "fp8"), "which was stated"),
        (("--engine", "transformers"), "'kvcalc estimate --engine transformers'"),
        (("--engine", "vllm", "--gpu", "rtx-3070"), "'kvcalc fit llama-3-8b --gpu rtx-3070"),
        (
            ("--engine", "sglang", "--engine-version", "0.5.23", "--gpu", "rtx-3070"),
            "'kvcalc fit llama-3-8b --engine sglang --engine-version 0.5.23 --gpu rtx-3070",
        ),
        (("--engine", "vllm", "--gpu", "h1000"), "no accelerator"),
        (("--dtype", "fp8", "--available", "1GiB"), "--dtype says what is left of a GPU"),
        (("--enforce-eager", "--available", "1GiB"), "--enforce-eager says what is left"),
        (
            ("--available", "9GiB", "--max-loras", "2", "--lora-rank", "16"),
            "--max-loras says what is left of a GPU, which was stated",
        ),
        (("--gpu", "h100", "--context", "8k", "--max-model-len", "8k"), "give one of them"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    status, answer = run(capsys, "llama-3-8b", *arguments)
    assert status == 2
    assert message in answer["error"]["message"]


@pytest.mark.parametrize(
    ("gpu", "block", "states"),
    [("h100", 832, 3), ("b200", 832, 3), ("rtx-pro-6000", 832, 3), ("a100-80gb", 784, 2),
     ("mi300x", 784, 2)],
)  # fmt: skip
def test_the_gpu_chooses_the_kernel_of_delta_networks(
    capsys: pytest.CaptureFixture[str], gpu: str, block: int, states: int
) -> None:
    """Qwen3.6-27B at vLLM 0.33: 49 blocks of 16 tokens of 4096 bytes hold a state of 3,207,168 bytes;
    where FlashInfer prefills, 13 of 64 tokens, and each of the three groups of states has one more.
    """
    _, answer = run(
        capsys, "qwen3.6-27b", "--engine", "vllm", "--engine-version", "0.33.0", "--gpu", gpu,
        "--tp", "2", "--max-model-len", "32k",
    )  # fmt: skip
    pool = answer["pool"]
    assert pool["block_tokens"] == block
    assert pool["blocks_per_request"] == -(-32768 // block) + 3 * states
    assert not any("Triton" in note for note in answer["notes"])


def test_without_a_gpu_both_kernels_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    _, answer = run(
        capsys, "qwen3.6-27b", "--engine", "vllm", "--engine-version", "0.33.0", "--available",
        "20GiB", "--max-model-len", "32k",
    )  # fmt: skip
    assert answer["pool"]["block_tokens"] == 784
    assert any("393 blocks of 832 tokens" in note for note in answer["notes"])


def test_a_gpu_beside_a_stated_memory_decides_kernels_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Qwen3.6-27B: FlashInfer prefills delta networks on Hopper, Triton on Ampere (see above)."""
    for gpu, block in (("h100", 832), ("a100-80gb", 784)):
        answer = run(capsys, "qwen3.6-27b", "--available", "20GiB", "--gpu", gpu)[1]
        assert answer["pool"]["available_bytes"] == 20 << 30
        assert answer["pool"]["block_tokens"] == block


def test_sglang_by_a_gpu_alone_and_with_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    one = run(capsys, "llama-3.1-8b", "--engine", "sglang", "--gpu", "h100")[1]
    assert "as SGLang 0.5.23 chooses for this memory" in " ".join(one["notes"])
    several = run(capsys, "llama-3.1-8b", "--engine", "sglang", "--gpu", "h100", "--dp", "2")[1]
    # 3 MiB more for each of 256 requests of a graph and each replica, 128 MiB for a rank.
    assert several["pool"]["tokens"] < one["pool"]["tokens"]


def test_the_weights_of_layers_that_draft_are_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    """DeepSeek-V3's module: 11,507,286,016 parameters of a layer in fp8, and eh_proj of 2 * 7168 * 7168
    on every rank; the published files keep it in bf16 (DeepSeek-V3 README_WEIGHTS.md)."""
    asked = ["deepseek-v3", "--gpu", "h200", "--tp", "8", "--max-model-len", "32k"]
    _, without = run(capsys, *asked)
    _, drafting = run(capsys, *asked, "--speculative-tokens", "1", "--mtp-layers", "1")
    left = [result["pool"]["available_bytes"] for result in (without, drafting)]
    assert left[0] - left[1] == 1_661_046_944
    assert any("1,661,046,944 bytes of MTP weights" in note for note in drafting["notes"])


def test_an_l40s_has_fewer_state_blocks_than_requests(capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM 0.33, config/compilation.py: max_num_seqs above the Mamba blocks stops the server."""
    asked = ["qwen3.6-27b", "--gpu", "l40s", "--dtype", "fp8"]
    _, result = run(capsys, *asked, "--max-model-len", "16384")
    said = "256 requests at once (max_num_seqs) are more than the 184 blocks"
    assert any(said in note for note in result["notes"])

    def fit(*more: str) -> str:
        with pytest.raises(SystemExit):
            main(["fit", *asked, "--context", "16k", "--batch", "4", *more])
        return capsys.readouterr().out

    assert "give --max-num-seqs 184 or less, or --enforce-eager" in fit()
    assert json.loads(fit("--max-num-seqs", "256", "--format", "json"))["verdict"] == "does not fit"
    assert "does not start" not in fit("--max-num-seqs", "128")
