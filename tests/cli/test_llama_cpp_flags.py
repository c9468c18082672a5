"""llama.cpp's own spellings on the command line, and what is said of words that it does not take."""

import pytest

from tests.scratch import run

Capture = pytest.CaptureFixture[str]
ASKED = ("fit", "qwen3-8b", "--gpu", "rtx-4090", "--dtype", "q4_k_m", "--context", "8k")


def test_a_command_line_of_llama_cpp_is_taken_as_it_stands(capsys: Capture) -> None:
    """The spellings of common/arg.cpp; the answer prints the command again."""
    typed = (
        "-ngl 20 -ot ffn_up=CPU -nkvo -ctk q8_0 -ctv q8_0 -ub 256 -np 2 -fa on -ts 1 -sm layer -kvu"
    )
    status, shown, _ = run(capsys, *ASKED, *typed.split())
    assert status == 0
    assert (
        '-ngl 20 -ot "ffn_up=CPU" --tensor-split 1 --no-kv-offload --ctx-size 16384 --parallel 2 '
        "--cache-type-k q8_0 --cache-type-v q8_0 --ubatch-size 256 --kv-unified --flash-attn on"
    ) in shown


@pytest.mark.parametrize("word", ["auto", "-1"])
def test_layers_that_are_left_open_are_found(capsys: Capture, word: str) -> None:
    """arg.cpp: auto is -1, the default."""
    _, shown, _ = run(capsys, "fit", "qwen3-32b", *ASKED[2:], "--context", "32k", "-ngl", word)
    assert "-ngl 55 " in shown


@pytest.mark.parametrize("model", [("qwen3-8b",), ("qwen3-8b", "qwen3-4b")])
@pytest.mark.parametrize("word", ["fp8", "q8_0:fp8"])
def test_a_cache_type_is_refused_under_the_name_that_was_typed(
    capsys: Capture, model: tuple[str, ...], word: str
) -> None:
    asked = ("--engine", "llama.cpp", "--gpu", "rtx-4090", "--kv-dtype", word)
    status, _, said = run(capsys, "fit", *model, *asked)
    assert status == 2
    assert f"--kv-dtype {word}: in llama.cpp 'fp8' is not a number format" in said
