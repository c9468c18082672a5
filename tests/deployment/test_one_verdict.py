"""fit, capacity and a budget of check give one verdict; what fit suggests fits when it is run."""

import itertools
import json
from typing import Any

import pytest

from kvcalc.checks.budget_language import PolicyBudget
from kvcalc.checks.gpu import gpu_findings
from kvcalc.cli.app import main
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.spec.catalog import load

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--format", "json"])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("model", "concurrency"),
    [("gemma-3-27b", 1.36), ("gpt-oss-20b", 47.15)],
)
def test_windows_and_padding_count(capsys: Capture, model: str, concurrency: float) -> None:
    """At 32k on an H100; the logical need alone would let 8 and 88 requests in."""
    gpu = ("--gpu", "h100-80gb")
    pool = run(capsys, "capacity", model, *gpu, "--max-model-len", "32k")[1]["pool"]
    assert round(pool["max_concurrency"], 2) == concurrency
    fit = run(capsys, "fit", model, *gpu, "--context", "32k")[1]
    assert fit["largest_batch"] == int(concurrency)
    stage = fit["stages"][0]
    causes = sum(item["bytes"] for item in stage["waste"])
    assert stage["cache_bytes"] + causes == stage["reserved_bytes"]
    logical = run(capsys, "fit", model, *gpu, "--context", "32k", "--engine", "logical")[1]
    assert logical["largest_batch"] in (9, 88)


MODELS = ("llama-3.1-8b", "gemma-3-27b", "gpt-oss-20b", "qwen3-next-80b-a3b", "deepseek-v2-lite",
          "nemotron-nano-9b-v2", "llama-4-scout", "mistral-7b-v0.1")  # fmt: skip
GPUS = ("h100-80gb", "rtx-4090", "b200")


@pytest.mark.parametrize(("model", "gpu"), list(itertools.product(MODELS, GPUS)))
def test_fit_capacity_and_check_agree(capsys: Capture, model: str, gpu: str) -> None:
    """The largest batch is the whole part of the concurrency, but for the null block."""
    status, fit = run(capsys, "fit", model, "--gpu", gpu, "--context", "16k", "--tp", "2")
    assert status == (0 if fit["fits"] else 1)
    status, answer = run(capsys, "capacity", model, "--gpu", gpu, "--context", "16k", "--tp", "2")
    if status == 2:
        assert not fit["fits"]
        return
    pool, batch = answer["pool"], fit["largest_batch"]
    assert batch == (pool["num_blocks"] - 1) // pool["blocks_per_request"]
    for more in (0, 1):
        budget = PolicyBudget(models=("x",), context=16384, batch=max(1, batch + more), gpu=gpu,
                              engine="vllm", tp=2)  # fmt: skip
        asked = Asked(context_tokens=16384, batch_size=budget.batch, layout=Layout(2))
        workload, _ = choose_workload(load(model), asked)
        over = list(gpu_findings(load(model), budget, workload, "budgets[0]"))
        assert bool(over) == (batch == 0 or bool(more))


def test_the_longest_context_is_admitted_and_one_token_more_is_not(capsys: Capture) -> None:
    """Blocks of 16 tokens: 31,936 is a whole number of them, 31,941 is not."""
    flags = ("fit", "qwen3-30b-a3b", "--gpu", "a100-80gb", "--batch", "4")
    longest = run(capsys, *flags, "--context", "128k")[1]["longest_context"]
    assert longest % 16 == 0
    assert run(capsys, *flags, "--context", str(longest))[0] == 0
    assert run(capsys, *flags, "--context", str(longest + 1))[0] == 1


# Requests that do not fit, so that something is suggested.
ASKED = [
    ("llama-3-70b", "h100", "--tp", "4", "--context", "32k", "--batch", "16"),
    ("qwen3-30b-a3b", "a100-80gb", "--context", "128k", "--batch", "4"),
    ("gemma-3-27b", "h100", "--context", "32k", "--batch", "4"),
    ("gpt-oss-120b", "h100", "--context", "64k", "--batch", "2"),
    ("qwen3-next-80b-a3b", "h200", "--context", "256k", "--batch", "8"),
    ("llama-3.1-8b", "rtx-4090", "--context", "64k"),
    ("llama-3.1-8b", "rtx-3090", "--context", "8k", "--batch", "2000"),
    ("deepseek-v3", "h200", "--tp", "8", "--dtype", "fp8", "--context", "128k", "--batch", "40"),
    ("gemma-3-27b", "l40s", "--dp", "2", "--tp", "2", "--context", "32k", "--batch", "64"),
    ("gemma-3-12b", "rtx-5090", "--context", "32k", "--engine", "tensorrt-llm", "--batch", "9"),
    ("llama-3.1-8b", "l4", "--context", "32k", "--engine", "sglang", "--memory-utilization", "0.8"),
    ("llama-3.1-8b", "t4", "--context", "8k", "--engine", "logical"),
    ("t5-3b", "t4", "--context", "16k", "--batch", "2", "--engine-version", "0.9.0"),
    ("qwen3-32b", "rtx-4090", "--context", "16k"),
    ("deepseek-v3", "h200", "--tp", "8", "--context", "4k", "--batch", "256"),
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked[0]} on {asked[1]}")
def test_what_is_suggested_fits(capsys: Capture, asked: tuple[str, ...]) -> None:
    model, gpu, *flags = asked
    command = ("fit", model, "--gpu", gpu, *flags)
    status, answer = run(capsys, *command)
    assert status == 1
    assert answer["changes"]
    for change in answer["changes"]:
        status, changed = run(capsys, *command, *change["what"].split())
        assert status == 0, change["what"]
        again, same = run(capsys, *change["command"].split()[1:])
        assert (again, same["workload"]) == (0, changed["workload"])
        assert ("tight" in change["cost"]) == (changed["verdict"] == "tight")
    if answer["fewest"] is not None:
        layout = (
            "--tp",
            str(answer["fewest"]["tensor"]),
            "--pp",
            str(answer["fewest"]["pipeline"]),
        )
        assert run(capsys, *command, *layout)[0] == 0


@pytest.mark.parametrize("command", ["fit", "capacity"])
def test_beyond_the_models_longest_is_said(capsys: Capture, command: str) -> None:
    status, answer = run(capsys, command, "llama-3-70b", "--gpu", "h100", "--tp", "4",
                         "--context", "128k")  # fmt: skip
    assert status == 0
    notes = answer["assumptions" if command == "fit" else "notes"]
    assert notes[0].startswith("the model was made for at most 8192 tokens; vLLM stops unless")
    if command == "fit":
        # What is held is as long as what was asked for: no answer contradicts another.
        assert answer["longest_context"] == 131072


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_it_is_said_of_all_accelerators_once(capsys: Capture, format: str) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "llama-3-8b", "--gpus", "all", "--context", "128k", "--format", format])
    assert capsys.readouterr().out.count("the model was made for at most 8192 tokens") == 1


def test_a_gpu_that_the_model_does_not_run_on_is_left_out(capsys: Capture) -> None:
    """vLLM has no kernel for MXFP4 below compute capability 8.0, a Titan V among them."""
    with pytest.raises(SystemExit) as ended:
        main(["fit", "gpt-oss-20b", "--gpus", "all", "--context", "32k"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "\nh100-80gb " in said
    assert "\ntitan-v " not in said
    assert "others, titan-v among them: vLLM runs MXFP4 from" in said


def test_an_encoder_holds_any_number_of_requests(capsys: Capture) -> None:
    status, answer = run(capsys, "fit", "bert-base-uncased", "--gpu", "t4", "--batch", "1000000")
    assert (status, answer["largest_batch"]) == (0, None)


def test_more_requests_than_vllm_runs_by_itself_need_its_flag(capsys: Capture) -> None:
    """1024 at once on 70 GiB and more (get_batch_defaults); more rows of logits take more memory."""
    with pytest.raises(SystemExit):
        main(["fit", "whisper-small", "--gpu", "h100", "--context", "448"])
    assert "requests with --max-num-seqs 1034" in capsys.readouterr().out
    status, answer = run(capsys, "fit", "whisper-small", "--gpu", "h100", "--max-num-seqs", "1024")
    assert (status, answer["largest_batch"]) == (0, 1024)


def test_chunks_in_sglangs_window_pool(capsys: Capture) -> None:
    """Llama 4 attends in chunks of 8192, which SGLang keeps in the pool for windows."""
    status, answer = run(capsys, "fit", "llama-4-scout", "--gpu", "h200", "--tp", "4", "--context",
                         "128k", "--engine", "sglang", "--memory-utilization", "0.85")  # fmt: skip
    assert status == (0 if answer["fits"] else 1)


@pytest.mark.parametrize("command", ["fit", "capacity"])
def test_what_an_engine_has_not_is_refused_in_one_voice(capsys: Capture, command: str) -> None:
    status, answer = run(capsys, command, "mor-360m-nr3-middle-cycle", "--gpu", "h100")
    assert status == 2
    assert answer["error"]["message"] == "vLLM has no mixture of recursions"


def test_capacity_takes_quantised_weights_and_passes_on_what_was_asked(capsys: Capture) -> None:
    flags = ("--gpu", "rtx-4090", "--tp", "2", "--kv-dtype", "fp8", "--context", "16k")
    status, answer = run(capsys, "capacity", "qwen3-30b-a3b", *flags)
    assert status == 2
    hint = answer["error"]["message"].split("'")[1]
    assert hint == ("kvcalc fit qwen3-30b-a3b --gpu rtx-4090 --context 16384 --dtype bf16 "
                    "--kv-dtype fp8 --tp 2")  # fmt: skip
    status, answer = run(capsys, *hint.split()[1:])
    assert status == 1
    assert any(change["what"].startswith("--dtype fp8") for change in answer["changes"])
    assert run(capsys, "capacity", "qwen3-30b-a3b", *flags, "--dtype", "fp8")[0] == 0


def test_a_model_that_vllm_has_no_class_for_fits_nowhere(capsys: Capture) -> None:
    """Its newest release runs no T5 (models/registry.py), as ``estimate --engine vllm`` says, too."""
    for command in (("fit", "t5-base", "--gpu", "h100-80gb"), ("fit", "t5-b*", "--gpu", "h100-80gb"),
                    ("capacity", "t5-base", "--engine", "vllm", "--gpu", "h100-80gb", "--max-model-len",
                     "512", "--encoder-context", "512")):  # fmt: skip
        status, answer = run(capsys, *command)
        assert status == 2
        assert "no class for model_type t5" in answer["error"]["message"]
