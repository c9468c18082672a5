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
    assert any("measured" in note or "startups" in note for note in answer["notes"])


def test_a_share_of_what_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    """TensorRT-LLM: 8.73 GiB available, fraction 0.25; 5958 blocks were logged."""
    status, answer = run(
        capsys, "qwen2.5-0.5b", "--engine", "tensorrt-llm", "--available", "8.73GiB",
        "--kv-dtype", "fp16", "--memory-utilization", "0.25",
    )  # fmt: skip
    assert status == 0
    least, most = (pool["num_blocks"] for pool in answer["pool_range"])
    assert least <= 5958 <= most


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "sglang", "--gpu", "h100"), "--memory-utilization"),
        (("--engine", "llama.cpp", "--gpu", "h100"), "--ctx-size"),
        (("--engine", "vllm", "--gpu", "h100", "--available", "1GiB"), "not both"),
        (("--engine", "vllm", "--gpu", "rtx-3070"), "leaves nothing"),
        (("--engine", "vllm", "--gpu", "h1000"), "no accelerator"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    status, answer = run(capsys, "llama-3-8b", *arguments)
    assert status == 2
    assert message in answer["error"]["message"]
