"""``--dtype q4_k_m`` on the command line: what is printed, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.spec.catalog import shipped
from tests.scratch import run

Capture = pytest.CaptureFixture[str]


def weights(capsys: Capture, *arguments: str) -> Any:
    status, out, _ = run(capsys, "estimate", *arguments, "--format", "json")
    assert status == 0
    return json.loads(out)["weights"]


def test_the_mixture_is_shown(capsys: Capture) -> None:
    """llama.cpp's loader of Qwen3-32B-Q4_K_M: 18.40 GiB (4.82 BPW), f32 257, q4_K 385, q6_K 65."""
    _, shown, _ = run(capsys, "estimate", "qwen3-32b", "--dtype", "Q4_K_M")
    assert "weights 18.40 GiB" in shown
    for line in (
        "q4_K          385",
        "q6_K           65",
        "f32           257",
        "together      707",
    ):
        assert line in shown
    found = weights(capsys, "qwen3-32b", "--dtype", "q4_k_m")
    assert found["files"] == [{"name": "qwen3-32b-Q4_K_M.gguf", "bytes": 19_756_174_336}]
    assert found["types"] == [
        {"type": "q4_K", "tensors": 385, "bytes": 15_537_070_080},
        {"type": "q6_K", "tensors": 65, "bytes": 4_216_396_800},
        {"type": "f32", "tensors": 257, "bytes": 2_707_456},
    ]


def test_the_options_of_quantize(capsys: Capture) -> None:
    plain = weights(capsys, "llama-3.1-8b", "--dtype", "q4_k_m")
    table = ("llama-3.1-8b", "--dtype", "q4_k_m", "--output-tensor-type", "q8_0")
    # The head of 128,256 rows of 4096: 34 bytes for 32 elements instead of 210 for 256.
    more = 128_256 * (4096 // 32 * 34 - 4096 // 256 * 210)
    assert weights(capsys, *table)["bytes"] == plain["bytes"] + more
    status, _, said = run(capsys, "estimate", "llama-3.1-8b", "--dtype", "iq2_xs")
    assert status == 2
    assert "needs an importance matrix" in said
    assert "say --imatrix" in said
    made = weights(capsys, "llama-3.1-8b", "--dtype", "iq2_xs", "--imatrix")
    assert made["types"][0]["type"] == "iq2_xs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("llama-3-8b", "--dtype", "UD-Q4_K_XL"), "a mixture of another tool's making"),
        (("llama-3-8b", "--dtype", "fp8", "--pure"), "--pure goes with a GGUF type"),
        (("llama-3-8b", "--dtype", "q4_k_n"), "'q4_k_n' is not a number format here"),
        (("opt-125m", "--dtype", "q8_0"), "no architecture for model_type opt: there is no GGUF file"),
        (("opt-125m", "--dtype", "q8_0"), "in q8_0 blocks and the rest in bf16 would take 170,852,352"),
        (("llama-3-8b", "--dtype", "q4_k_m", "--attention", "mla"), "has no latent attention"),
        (("delta-net-1.3b", "--dtype", "q8_0"), "delta-net-1.3b states no model_type"),
        (("falcon-rw-1b", "--dtype", "q4_k_m"), "llama.cpp's falcon has no biases"),
    ],
)  # fmt: skip
def test_what_no_file_can_be_is_refused(
    capsys: Capture, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = run(capsys, "estimate", *arguments)
    assert (status, out) == (2, "")
    assert said in err


def test_fit_and_compare_take_it(capsys: Capture) -> None:
    assert "18.40 GiB" in run(capsys, "compare", "qwen3-32b", "--dtype", "q4_k_m")[1]
    asked = ("llama-3-8b", "--gpu", "rtx-4090", "--dtype", "q4_k_m", "--context", "8k")
    assert "4.58 GiB" in run(capsys, "fit", *asked, "--engine", "vllm")[1]
    # 4,685.30 MiB in all, the token table in RAM (the loader's figures).
    assert "4,403.49 MiB" in run(capsys, "fit", *asked)[1]


def test_a_file_with_the_layers_that_predict_further_tokens_is_named(capsys: Capture) -> None:
    """The dry run of that file: 69,473.42 MiB (tests/gguf/quantised.txt, glm-4.5-air+mtp)."""
    _, out, _ = run(capsys, "estimate", "glm-4.5-air", "--dtype", "q4_k_m")
    assert "has tensors of 72,848,161,792 bytes" in out


@pytest.mark.parametrize(
    ("model", "per_device"),
    [
        # As the headers of such files say over two ranks: a convolution without its axis of one, a
        # norm by group, MLA's up-projection by head, AltUp's stacked projections.
        ("mamba-2.8b", 1_482_330_240),
        ("nemotron-h-8b", 4_306_438_144),
        ("deepseek-v3", 357_346_101_248),
        ("gemma-3n-e4b", 3_712_548_800),
    ],
)
def test_what_a_file_lays_out_anew_is_divided_among_ranks(model: str, per_device: int) -> None:
    weights = kvcalc.estimate(model, context_tokens=512, dtype="q8_0", tensor=2).to_dict()[
        "weights"
    ]
    assert weights["per_device_bytes"] == [per_device, per_device]


def test_more_norms_than_a_file_has_names_for_are_refused(capsys: Capture, tmp_path: Path) -> None:
    spec = tmp_path / "muse.yaml"
    text = shipped()["muse-glimmer-30b"].read_text("utf-8")
    spec.write_text(text.replace("norms: 4", "norms: 6"), "utf-8")
    status, _, err = run(capsys, "estimate", str(spec), "--dtype", "q4_k_m")
    assert status == 2
    assert "a layer with 6 norms: llama.cpp's files of muse-glimmer have 4" in err
