"""Somebody pastes a log that says 1.02x: one screen says why, and what to change."""

import json
import re
import shlex
from pathlib import Path

import pytest

from kvcalc.cli.app import main

Capture = pytest.CaptureFixture[str]
# Qwen3-8B: 36 layers of 8 KV heads of 128, 2,359,296 bytes a block of 16; 5.75 GiB hold 2,616 of them.
LOG = """\
(APIServer pid=1) INFO 11-02 10:00:01 [utils.py:233] non-default args: {'model': 'Qwen/Qwen3-8B'}
(EngineCore_DP0 pid=77) INFO 11-02 10:00:11 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with \
config: model='Qwen/Qwen3-8B', speculative_config=None, dtype=torch.bfloat16, max_seq_len=40960, \
tensor_parallel_size=1, pipeline_parallel_size=1, quantization=None, enforce_eager=False, \
kv_cache_dtype=auto, enable_prefix_caching=True, pooler_config=None
(EngineCore_DP0 pid=77) INFO 11-02 10:00:40 [gpu_model_runner.py:2653] Model loading took 15.2683 GiB and
(EngineCore_DP0 pid=77) INFO 11-02 10:00:58 [gpu_worker.py:298] Available KV cache memory: 5.75 GiB
(EngineCore_DP0 pid=77) INFO 11-02 10:00:58 [kv_cache_utils.py:1087] GPU KV cache size: 41,840 tokens
(EngineCore_DP0 pid=77) INFO 11-02 10:00:58 [kv_cache_utils.py:1091] Maximum concurrency for 40,960 \
tokens per request: 1.02x
"""


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "vllm.log"
    path.write_text(LOG)
    return str(path)


def test_one_screen_says_why_and_what_to_change(log: str, capsys: Capture) -> None:
    status, out, _ = run(capsys, "log", log)
    assert status == 0
    assert len(out.splitlines()) < 40
    assert "The log's 4 figures are as they should be." in out
    assert "One request of 40,960 tokens takes 5.62 GiB of 5.75 GiB: 1.02 of them at once." in out
    assert re.search(r"--kv-cache-dtype fp8 +2\.04x", out)
    assert re.search(r"--max-model-len 20480 +2\.04x", out)


def test_json_is_the_contract(log: str, capsys: Capture) -> None:
    status, out, _ = run(capsys, "log", log, "--format", "json")
    found = json.loads(out)
    assert status == 0
    assert list(found) == ["schema_version", "engine", "model", "flags", "observations", "advice"]
    assert found["engine"] == {"name": "vllm", "version": "0.11.0"}
    tokens = found["observations"][1]
    assert list(tokens) == [
        "quantity",
        "line",
        "logged",
        "predicted",
        "least",
        "most",
        "agrees",
        "reason",
    ]
    assert [tokens[key] for key in ("quantity", "line", "logged", "least", "most", "agrees")] == [
        "tokens", 5, 41840, 41824, 41904, True,
    ]  # fmt: skip
    assert found["flags"]["tensor_parallel_size"] == 1


def test_every_command_of_the_advice_says_its_effect(log: str, capsys: Capture) -> None:
    _, out, _ = run(capsys, "log", log, "--format", "json")
    advice = json.loads(out)["advice"]
    assert len(advice) == 3
    for each in advice:
        program, *arguments = shlex.split(each["command"])
        assert program == "kvcalc"
        status, asked, _ = run(capsys, *arguments, "--format", "json")
        assert status == 0
        held = json.loads(asked)["pool"]["max_concurrency"]
        assert each["effect"].startswith(f"{held:.2f}x")


def test_a_figure_that_differs_is_exit_1(log: str, capsys: Capture) -> None:
    Path(log).write_text(LOG.replace("41,840", "31,840"))
    status, out, _ = run(capsys, "log", log)
    assert status == 1
    assert "figures are not what they should be" in out
    assert "differs" in out


def test_what_cannot_be_asked_is_exit_2(log: str, capsys: Capture) -> None:
    Path(log).write_text(LOG.replace("Qwen/Qwen3-8B", "acme/nothing"))
    status, out, _ = run(capsys, "log", log, "--format", "json")
    assert status == 2
    assert "--model" in json.loads(out)["error"]["message"]
    Path(log).write_text("what is this\n")
    status, _, err = run(capsys, "log", log)
    assert (status, "line 1 begins 'what is this'" in err) == (2, True)
    status, _, err = run(capsys, "log", "no-such.log")
    assert (status, "no such file" in err) == (2, True)


def test_what_was_assumed_goes_beside_json(log: str, capsys: Capture) -> None:
    Path(log).write_text(LOG + "Available KV cache memory: 5.7")
    _, _, err = run(capsys, "log", log, "--format", "json")
    assert "is cut before its number ends" in err
