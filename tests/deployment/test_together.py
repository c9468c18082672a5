"""Several models on the same devices: each one's share, what is left, and what is refused."""

import json
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.cli.fit import fit as command
from kvcalc.errors import KvcalcError

Capture = pytest.CaptureFixture[str]


def ask(capsys: Capture, *models: str, status: int = 0, **words: Any) -> dict[str, Any]:
    assert command(models=list(models), together=True, format="json", **words) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_shares_of_vllm_are_the_smallest_that_fit(capsys: Capture) -> None:
    words = {"gpu": "rtx-4090", "context": "4k"}
    found = ask(capsys, "qwen3-0.6b", "qwen3-8b", **words)
    assert [part["percent"] for part in found["models"]] == [16, 78]
    assert found["free_bytes"] == 1522995402
    for part in found["models"]:
        share = f"0.{part['percent']}"
        assert part["command"].endswith(f"--memory-utilization {share}")
        for given, verdict in ((share, "fits"), (f"0.{part['percent'] - 1}", None)):
            with pytest.raises(SystemExit):
                main([*part["command"].split()[1:-1], given, "--format", "json"])
            one = json.loads(capsys.readouterr().out)["verdict"]
            assert one == verdict if verdict else one != "fits"


def test_the_logical_need_of_two_is_their_sum(capsys: Capture) -> None:
    """llama-3-8b: 16,060,522,496 bytes of weights and 1 GiB of cache for 8k tokens, twice."""
    need = 2 * (16060522496 + (1 << 30))
    words = {"engine": "logical", "context": "8k"}
    for memory, status in ((need, 0), (need - 1, 1)):
        found = ask(
            capsys, "llama-3-8b", "llama-3-8b", status=status, gpu_memory=f"{memory}B", **words
        )
        assert found["free_bytes"] == memory - need


def test_two_models_stand_on_two_devices_alike(capsys: Capture) -> None:
    """llama-3-8b over two ranks: 8,030,527,488 bytes of weights and half a GiB of cache on each."""
    need = 2 * (8030527488 + (1 << 29))
    words = {"engine": "logical", "context": "8k", "tp": 2}
    for memory, status in ((need, 0), (need - 1, 1)):
        found = ask(
            capsys, "llama-3-8b", "llama-3-8b", status=status, gpu_memory=f"{memory}B", **words
        )
        assert (found["free_bytes"], found["parallelism"]["tensor"]) == (memory - need, 2)
    words = {"gpu": ["h100", "h100"], "together": True, "context": "8k"}
    assert command(models=["qwen3-8b", "qwen3-4b"], **words) == 0
    out = capsys.readouterr().out
    assert "together on 2 x h100-80gb (79.19 GiB each, TP 2 x PP 1)" in out
    assert "left on each" in out


def test_one_that_does_not_fit_alone(capsys: Capture) -> None:
    found = ask(capsys, "qwen3-32b", "qwen3-0.6b", status=1, gpu="rtx-4090", context="4k")
    assert found["free_bytes"] is None
    assert command(models=["qwen3-32b", "qwen3-0.6b"], together=True, gpu="rtx-4090") == 1
    assert "one of them does not fit alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("models", "words", "message"),
    [
        (["qwen3-8b"], {}, "name two"),
        (["qwen3-8b", "qwen3-4b"], {"tp": 2, "dp": 2}, "one server of each model"),
        (["qwen3-8b", "qwen3-4b"], {"tp": 2, "engine": "llama.cpp"}, "is of one device"),
        (["qwen3-8b", "qwen3-4b"], {"memory_utilization": "0.5"}, "finds each model's"),
        (
            ["qwen3-8b", "qwen3-4b"],
            {"engine": "sglang"},
            "SGLang: what several of its servers take",
        ),
        (["qwen3-8b", "qwen3-4b"], {"gpu": None, "gpus": "all"}, "of devices that are named"),
        (["qwen3-8b", "mor-360m-nr3-middle-cycle"], {}, "vLLM has no mixture of recursions"),
    ],
)
def test_refusals(models: list[str], words: dict[str, Any], message: str) -> None:
    with pytest.raises(KvcalcError, match=message):
        command(models=models, together=True, **{"gpu": "rtx-4090", **words})


def test_contexts_that_media_make_different_are_said_up_to(capsys: Capture) -> None:
    words = {"gpu": "h100", "together": True, "context": "8k"}
    assert command(models=["gemma-4-12b", "qwen3-vl-8b"], images="1", **words) == 0
    assert capsys.readouterr().out.startswith("up to 24,578 tokens x 1 each")
    assert command(models=["gemma-4-12b", "qwen3-4b"], **words) == 0
    assert capsys.readouterr().out.startswith("8k tokens x 1 each")
