"""The same question has the same bytes from ``fit``, ``capacity`` and ``estimate --engine``."""

import json
import random
from typing import Any

import pytest

from kvcalc.spec.catalog import shipped
from tests.scratch import run

Capture = pytest.CaptureFixture[str]
LAYOUTS = ("", "--tp 2", "--pp 2", "--tp 4", "--tp 2 --pp 2")
FORMATS = ("", "--kv-dtype fp8", "--state-dtype bf16", "--speculative-tokens 2")
WEIGHTS = ("", "--dtype bf16", "--dtype fp8")


def drawn(seed: int) -> tuple[str, str, str, str]:
    """(model, engine, GPU, options)."""
    rng = random.Random(seed)
    engine = rng.choice(("vllm", "sglang", "tensorrt-llm"))
    options = " ".join(rng.choice(each) for each in (LAYOUTS, FORMATS, WEIGHTS))
    return rng.choice(sorted(shipped())), engine, rng.choice(("h200", "b200", "mi300x")), options


def asked(capsys: Capture, line: str) -> dict[str, Any] | None:
    """The answer; None where it is refused."""
    code, out, _ = run(capsys, *line.split(), "--format", "json")
    found: dict[str, Any] = json.loads(out) if code in (0, 1) else {}
    return found or None


def held(capsys: Capture, model: str, engine: str, gpu: str, options: str) -> None:
    """Hold the three roads to each other."""
    said = f"{model} --engine {engine} {options}"
    kernels = f"--gpu {gpu}" if engine != "tensorrt-llm" else ""
    fit = asked(capsys, f"fit {said} --gpu {gpu} --context 5000 --batch 3")
    need = asked(capsys, f"estimate {said} {kernels} --context 5000 --batch 3")
    if fit is None:
        return
    assert need is not None, said
    ranks = fit["parallelism"]["tensor"]
    cache, weights = need["cache"], need["weights"]
    after = sum(one["bytes"] for one in weights.get("after_loading") or ())
    for number, stage in enumerate(fit["stages"]):
        own = range(number * ranks, number * ranks + ranks)
        assert stage["reserved_bytes"] == max(cache["per_device_bytes"][rank] for rank in own), said
        more = sum(one["bytes"] for one in stage["waste"])
        assert stage["reserved_bytes"] == stage["cache_bytes"] + more, said
        loaded = weights.get("loaded_bytes_per_device")
        if loaded is None:
            largest = max(weights["per_device_bytes"][rank] for rank in own)
            assert stage["weights_bytes"] == largest, said
        else:
            buffers = weights["buffer_bytes_per_device"] or [0] * len(loaded)
            largest = max(loaded[rank] + buffers[rank] for rank in own)
            alone = stage["weights_bytes"] - sum(stage["beside_bytes"].values())
            assert largest <= alone <= largest + after, said
    free = min(stage["free_bytes"] for stage in fit["stages"])
    pool = asked(capsys, f"capacity {said} --gpu {gpu} --max-model-len 5000")
    if pool is not None and free > 0:
        assert pool["pool"]["available_bytes"] == free, said


@pytest.mark.parametrize("seed", range(24))
def test_a_few(seed: int, capsys: Capture) -> None:
    held(capsys, *drawn(seed))


@pytest.mark.sweep
def test_many(capsys: Capture) -> None:
    for seed in range(24, 1000):
        held(capsys, *drawn(seed))


def test_layers_that_draft_are_loaded_where_only_their_tokens_are_said(capsys: Capture) -> None:
    """vLLM and SGLang load a model's own MTP layers to draft: what ``--mtp-layers`` says by name."""
    line = "glm-4.5 --gpu h200 --tp 8 --speculative-tokens 2"
    alone, named, without = (
        asked(capsys, f"fit {line} {more}") or {}
        for more in ("", "--mtp-layers 1", "--mtp-layers 0")
    )
    assert alone["stages"] == named["stages"]
    assert [*alone["stages"][0]["beside_bytes"]] == ["mtp"]
    assert without["stages"][0]["beside_bytes"] == {}
    pools = [
        (asked(capsys, f"capacity {line} --max-model-len 8192 {more}") or {})["pool"]
        for more in ("", "--mtp-layers 1")
    ]
    assert pools[0] == pools[1]
    assert pools[0]["available_bytes"] == alone["stages"][0]["free_bytes"]


@pytest.mark.parametrize("command", ["capacity", "fit", "estimate"])
def test_layers_that_a_model_has_not_are_refused(command: str, capsys: Capture) -> None:
    code, _, err = run(
        capsys,
        *f"{command} llama-3-8b --engine vllm --gpu h100 --mtp-layers 1 --speculative-tokens 1".split(),
    )
    assert (code, "llama-3-8b has no multi-token-prediction layers" in err) == (2, True)


def test_mlx_reserves_what_its_classes_keep(capsys: Capture) -> None:
    """Llama 2 70B, 3 x 5,000 tokens in steps of 256: 5,120 positions of 80 layers, 8 heads, 128 wide."""
    line = "llama-2-70b --engine mlx --context 5000 --batch 3 --dtype mlx-4bit"
    fit = asked(capsys, f"fit {line} --gpu m3-ultra-512gb") or {}
    need = asked(capsys, f"estimate {line}") or {}
    [stage] = fit["stages"]
    assert stage["reserved_bytes"] == need["cache"]["bytes"] == 3 * 5120 * 80 * 2 * 8 * 128 * 2
    assert stage["waste"][0]["bytes"] == 3 * 120 * 80 * 2 * 8 * 128 * 2


def test_mlx_refuses_a_model_that_it_has_no_class_of(capsys: Capture) -> None:
    line = "fit minimax-vl-01 --engine mlx --gpu m3-ultra-512gb --dtype bf16"
    code, _, err = run(capsys, *line.split())
    assert (code, "has no class of mlx-lm" in err) == (2, True)


def test_what_drafts_is_loaded_on_the_last_stage_alone(capsys: Capture) -> None:
    """GLM-OCR over two stages: its MTP layer is on the second, and the first has the least room."""
    line = "glm-ocr --engine sglang --tp 2 --pp 2 --speculative-tokens 2 --gpu h200"
    fit = asked(capsys, f"fit {line} --context 5000") or {}
    pool = asked(capsys, f"capacity {line} --max-model-len 5000") or {}
    assert [[*stage["beside_bytes"]] for stage in fit["stages"]] == [[], ["mtp"]]
    assert pool["pool"]["available_bytes"] == min(stage["free_bytes"] for stage in fit["stages"])
