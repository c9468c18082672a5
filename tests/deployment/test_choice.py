"""Fit the other way round: which models fit a device, in which format of the weights, how far."""

import json
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.cli.fit import fit as command
from kvcalc.errors import KvcalcError

Capture = pytest.CaptureFixture[str]


def ask(capsys: Capture, *models: str, status: int = 0, **words: Any) -> dict[str, Any]:
    words.setdefault("gpu", "rtx-4090")
    assert command(models=list(models), format="json", **words) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def best(found: dict[str, Any]) -> dict[str, tuple[str, int]]:
    return {
        each["model"]: (each["best"]["dtype"], each["best"]["longest_context"])
        for each in found["models"]
        if each["fits"]
    }


def test_a_pattern_says_which_fit_in_what_and_how_far(capsys: Capture) -> None:
    """24 GiB under vLLM at 16k: the widest of bf16, fp8 and int4 that fits, the largest model first."""
    found = ask(capsys, "qwen3-*b", "gemma-3-*", context="16k")
    assert found["engine"]["name"] == "vllm"
    assert best(found) == {
        "qwen3-vl-30b-a3b": ("int4_g128", 19808),
        "qwen3-30b-a3b": ("int4_g128", 33392),
        "qwen3-14b": ("fp8", 26928),
        "gemma-3-12b": ("fp8", 67776),
        "qwen3-vl-8b": ("bf16", 19392),
        "qwen3-8b": ("bf16", 30784),
        "qwen3-vl-4b": ("bf16", 80528),
        "gemma-3-4b": ("bf16", 131072),
        "qwen3-4b": ("bf16", 40960),
        "qwen3-vl-2b": ("bf16", 145728),
        "qwen3-1.7b": ("bf16", 40960),
        "gemma-3-1b": ("bf16", 32768),
        "qwen3-0.6b": ("bf16", 40960),
        "gemma-3-270m": ("bf16", 32768),
    }
    assert list(best(found)) == [each["model"] for each in found["models"]][:14]
    assert not found["models"][-1]["fits"]


@pytest.mark.parametrize(
    ("gpu", "engine"),
    [("rtx-4090", "vllm"), ("rtx-4090", "llama.cpp"), ("m3-max-64gb", "mlx")],
)
def test_its_lines_fit_when_they_are_run(capsys: Capture, gpu: str, engine: str) -> None:
    found = ask(capsys, "mistral-*", "llama-3.1-*b", context="16k", gpu=gpu, engine=engine)
    for each in found["models"]:
        if each["fits"] and each["best"]["dtype"] != "bf16":
            with pytest.raises(SystemExit) as ended:
                main([*each["best"]["command"].split()[1:], "--format", "json"])
            assert ended.value.code == 0
            one = json.loads(capsys.readouterr().out)
            for key in ("verdict", "longest_context", "largest_batch"):
                assert one.get(key, each["best"][key]) == each["best"][key]


def test_a_mac_has_the_files_of_mlx(capsys: Capture) -> None:
    """64 GiB, of which the GPU may wire 51.84: Qwen3-32B in bf16 is 61.02 GiB."""
    found = ask(capsys, "qwen3-32b", gpu="m3-max-64gb", context="16k")
    assert found["engine"]["name"] == "mlx"
    assert [way["dtype"] for way in found["models"][0]["formats"]] == [
        "bf16", "mlx-8bit", "mlx-6bit", "mlx-5bit", "mlx-4bit", "mlx-3bit",
    ]  # fmt: skip
    assert found["models"][0]["best"]["dtype"] == "mlx-8bit"


def test_what_is_published_comes_first(capsys: Capture) -> None:
    """gpt-oss-20b is published in MXFP4; DeepSeek-V3's fp8 fits nowhere near, int4 neither."""
    found = ask(capsys, "gpt-oss-20b", "deepseek-v3", context="16k")["models"]
    assert found[0]["best"]["dtype"] == "checkpoint"
    assert [way["dtype"] for way in found[1]["formats"]] == ["checkpoint", "int4_g128"]


def test_one_model_under_llama_cpp_has_a_row_for_each_file(capsys: Capture) -> None:
    """llama.cpp's loader prints 18.40 GiB for Qwen3-32B in Q4_K_M."""
    found = ask(capsys, "qwen3-32b", engine="llama.cpp", context="16k")["models"][0]
    files = {way["dtype"]: way["weights_bytes"] for way in found["formats"]}
    assert list(files)[-4:] == ["q4_k_m", "iq4_xs", "q3_k_m", "q2_k"]
    assert found["best"]["dtype"] == "q4_k_m"
    assert round(files["q4_k_m"] / (1 << 30), 2) == 18.40
    assert files["q5_k_m"] > files["q4_k_m"] > files["iq4_xs"]
    shown = command(models=["qwen3-32b"], gpu="rtx-4090", engine="llama.cpp", context="16k")
    assert shown == 0
    line = "fits, q4_k_m: llama-server -m MODEL.gguf -ngl 99 --ctx-size 16384 --parallel 1"
    assert line in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ({"dtype": "q4_k_m"}, "llama.cpp"),
        ({}, "vllm"),
        ({"dtype": "fp8"}, "vllm"),
        ({"engine": "sglang", "dtype": "bf16"}, "sglang"),
    ],
)
def test_the_engine_follows_from_what_was_asked(
    capsys: Capture, words: dict[str, str], engine: str
) -> None:
    found = ask(capsys, "qwen3-0.6b", "qwen3-1.7b", context="4k", **words)
    assert found["engine"]["name"] == engine


def test_formats_that_a_gpu_has_not_are_not_offered(capsys: Capture) -> None:
    """fp8 needs compute capability 8.9; an RTX 3090 has 8.6."""
    found = ask(capsys, "qwen3-14b", "qwen3-8b", gpu="rtx-3090", context="16k")
    assert [each["best"]["dtype"] for each in found["models"]] == ["int4_g128", "bf16"]


def test_what_an_engine_does_not_run_is_named(capsys: Capture) -> None:
    assert command(models=["mor-360m-*", "qwen3-0.6b"], gpu="rtx-4090", context="2k") == 0
    out = capsys.readouterr().out
    assert "not run by vLLM: mor-360m-nr2-middle-cycle, " in out


@pytest.mark.parametrize(
    ("models", "words", "message"),
    [
        (["qwem*"], {}, "no model 'qwem\\*'"),
        (["qwen3-8b", "qwen3-9b"], {}, "no model 'qwen3-9b'"),
        (["qwen3-8b", "qwen3-4b"], {"gpu": None, "gpus": "all"}, "answers for one model"),
        (["qwen3-8b", "qwen3-4b"], {"ram": "64GiB"}, "--ram is of one model"),
        (["mor-360m-*"], {}, "vLLM has no mixture of recursions"),
    ],
)
def test_refusals(models: list[str], words: dict[str, Any], message: str) -> None:
    with pytest.raises(KvcalcError, match=message):
        command(models=models, **{"gpu": "rtx-4090", **words})


def test_without_a_context_a_short_model_has_its_own(capsys: Capture) -> None:
    found = ask(capsys, "whisper-tiny", "qwen3-0.6b")
    assert {each["model"]: each["context_tokens"] for each in found["models"]} == {
        "qwen3-0.6b": 8192, "whisper-tiny": 448,
    }  # fmt: skip
    assert command(models=["whisper-tiny", "qwen3-0.6b"], gpu="rtx-4090") == 0
    assert capsys.readouterr().out.startswith("up to 8k tokens x 1 in bf16 on 1 x rtx-4090")


def test_programs_that_run_llama_cpp_are_not_given_its_command(capsys: Capture) -> None:
    assert command(models=["qwen3-8b"], gpu="rtx-4090", engine="ollama", context="8k") == 0
    out = capsys.readouterr().out
    assert "llama-server" not in out
    assert "not Ollama's defaults" in out
    assert ", Ollama (llama.cpp v0.5.0)\n" in out  # whose release it is


def test_nothing_fits(capsys: Capture) -> None:
    ask(capsys, "qwen3-32b", "qwen3-14b", gpu="gtx-1660", status=1, context="4k", engine="logical")


def status_of(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_what_is_lacking_is_said_with_a_device_that_has_it(capsys: Capture) -> None:
    """gpt-oss-120b on Macs: 51.84 GiB of 64 GiB are the GPU's as users' own logs print it (the catalogue's
    note); 60.77 GiB are the published files'. The command that is named says 'fits' itself."""
    found = ask(capsys, "gpt-oss-120b", gpu="m3-max-64gb", status=1)
    assert found["assumptions"][:2] == [
        "the checkpoint takes 60.77 GiB of weights alone, 8.93 GiB more than the 51.84 GiB that a program "
        "may use",
        "the smallest of the catalogue's Apple devices that holds it: kvcalc fit gpt-oss-120b --gpu "
        "m2-max-96gb --engine mlx --context 8k",
    ]
    assert status_of(found["assumptions"][1].split("kvcalc ")[1].split()) == 0


def test_the_narrowest_file_says_what_is_lacking(capsys: Capture) -> None:
    """llama.cpp with RAM: 227.38 GiB of DeepSeek-V3's q2_k against an RTX 4090's 23.64 GiB and 64."""
    asked = ["fit", "deepseek-v3", "--gpu", "rtx-4090", "--ram", "64GiB", "--context", "32k"]
    assert status_of(asked) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "q2_k, the narrowest, takes 227.38 GiB of weights alone, 139.74 GiB more than the 87.64 GiB that "
        "the devices and RAM have together"
    ) in out
    assert "holds nothing" not in out
    assert status_of([*asked, "--format", "csv"]) == 1
    assert all(row.endswith("does not fit,") for row in capsys.readouterr().out.splitlines()[1:])


def test_what_is_to_be_seen_puts_the_projector_on_the_device(capsys: Capture) -> None:
    """gemma-3-4b's projector, 811.79 MiB in f16; 264 more tokens make the context longer, too."""
    sizes = []
    for words in ({}, {"images": ["1"]}):
        found = ask(capsys, "gemma-3-4b", "qwen2.5-vl-3b", dtype="q4_k_m", context="8k", **words)
        each = next(each for each in found["models"] if each["model"] == "gemma-3-4b")
        sizes.append((each["best"]["weights_bytes"], each["best"]["free_bytes"]))
    assert sizes == [(2483352832, 21383120015), (3334578880, 20520883919)]
