"""Images and sound in ``fit``: their places join the context, and vLLM keeps what the tower made."""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.convert.locate import load
from kvcalc.deployment.overhead import overheads
from kvcalc.engines.engine import Batch
from kvcalc.spec.loader import load_spec_text

Capture = pytest.CaptureFixture[str]

SEES = """\
name: sees
source: the test's own
hidden_size: 1024
vocab_size: 1000
tie_word_embeddings: false
blocks:
  decoder:
    attention: {kind: gqa, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 128}
    ffn: {kind: gated, intermediate_size: 2048}
layers: [{repeat: 2, blocks: [decoder]}]
towers:
  projector: {kind: mlp, in_features: 512, sizes: [1024]}
"""


def asked(capsys: Capture, line: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stopped:
        main([*line.split(), "--format", "json"])
    return int(stopped.value.code or 0), json.loads(capsys.readouterr().out)


def test_their_places_join_the_context(capsys: Capture) -> None:
    # Gemma 3: 256 tokens and 4 separators an image (tests/media).
    for rest in ("", " --engine llama.cpp --dtype q4_k_m"):
        status, found = asked(
            capsys, f"fit gemma-3-27b --gpu h100 --images 4x1920x1080 --context 8k{rest}"
        )
        assert status == 0
        assert found["workload"]["context_tokens"] == 8192 + 4 * 260
        (media,) = found["workload"]["media"]
        assert (media["kind"], media["count"], media["tokens"], media["separators"]) == (
            "image", 4, 256, 4,
        )  # fmt: skip


def test_several_models_each_by_its_own_processor(capsys: Capture) -> None:
    line = "fit gemma-3-4b gemma-3-27b --gpu h100 --images 1 --context 8k"
    _, found = asked(capsys, line)
    assert {each["context_tokens"] for each in found["models"]} == {8192 + 260}


def test_a_model_that_sees_nothing_is_refused(capsys: Capture) -> None:
    status, found = asked(capsys, "fit llama-3-8b --gpu h100 --images 1")
    assert status == 2
    assert "no tower for images" in found["error"]["message"]


@pytest.mark.parametrize(
    ("largest", "expected"),
    # vLLM: the step's 8,192 tokens, or the largest item's, of 1,024 elements in two bytes.
    [(None, 16777216), (256, 16777216), (16384, 33554432)],
)
def test_vllm_keeps_a_steps_embeddings(largest: int | None, expected: int) -> None:
    items = overheads(load_spec_text(SEES), Batch(8192, 256), 1, 1, largest_item=largest)
    (kept,) = (item for item in items if item.name == "encoder cache")
    assert (kept.bytes, kept.least_bytes, kept.most_bytes) == (expected, expected, expected)


def test_a_text_model_has_no_encoder_cache() -> None:
    items = overheads(load("llama-3-8b"), Batch(8192, 256), 1, 1)
    assert "encoder cache" not in {item.name for item in items}


def test_the_library_asks_the_same(tmp_path: Path) -> None:
    import kvcalc

    found = kvcalc.fit("gemma-3-4b", "h100", context_tokens="8k", images="2x1024x768")
    assert found.request.workload.context_tokens == 8192 + 2 * 260


def test_the_first_line_says_what_the_images_are(capsys: Capture) -> None:
    # Qwen2.5-VL: 2,691 tokens and 2 separators an image of 1920x1080 (tests/media).
    with pytest.raises(SystemExit):
        main(["fit", "qwen2.5-vl-7b", "--gpu", "rtx-4090", "--images", "4x1920x1080"])
    lines = capsys.readouterr().out.splitlines()
    # The largest image, of 16,384 tokens of 3,584 elements in two bytes; no band of one figure.
    assert [line.split() for line in lines if "encoder cache  " in line] == [
        ["encoder", "cache", "112.00", "MiB"]
    ]
    said = lines[1]
    assert said.startswith("18,964 tokens (10,772 for 4 x image of 1920x1080) x 1 in bf16")


@pytest.mark.parametrize(("size", "tokens"), [("1920x1080", 2691), ("4000x3000", 4096)])
def test_llama_cpp_bounds_an_image(capsys: Capture, size: str, tokens: int) -> None:
    """clip.cpp: Qwen-VL's projectors make 4,096 tokens at most; the published bounds 15,301."""
    line = f"fit qwen2.5-vl-7b --gpu rtx-4090 --context 8k --images 1x{size} --dtype q4_k_m"
    _, found = asked(capsys, line)
    assert found["workload"]["context_tokens"] == 8192 + tokens + 2


def test_estimate_and_several_models_hold_the_same_bound(capsys: Capture) -> None:
    _, found = asked(
        capsys, "estimate qwen2.5-vl-7b --engine llama.cpp --context 8k --images 2x4000x3000"
    )
    assert found["workload"]["context_tokens"] == 8192 + 2 * 4098
    line = (
        "fit qwen2.5-vl-7b qwen2.5-vl-3b --gpu rtx-4090 --engine llama.cpp --context 8k --images 1"
    )
    _, found = asked(capsys, line)
    assert {each["context_tokens"] for each in found["models"]} == {8192 + 4098}


# Each of several models, and of several formats, makes what it makes of the same image.
def test_a_choice_says_what_is_seen() -> None:
    models = ["qwen3-vl-4b", "gemma-3-4b"]
    found = kvcalc.which(models, "rtx-4090", context_tokens=1024, images="1920x1080")
    assert [note for note in found.notes if "x image" in note] == [
        "qwen3-vl-4b: 1 x image of 1920x1080: 2,040 tokens and 2 separators each",
        "gemma-3-4b: 1 x image of 1920x1080: 256 tokens and 4 separators each",
    ]
    beside = "a projector (--mmproj) lies on the device only where something is to be seen"
    for images, expected in ((None, 1), ("2", 0)):
        alone = kvcalc.which(
            "qwen3-vl-4b", "rtx-4090", context_tokens=1024, engine="llama.cpp", images=images
        )
        assert sum(note.startswith(beside) for note in alone.notes) == expected


def test_models_side_by_side_say_what_they_see(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "qwen3-vl-2b", "qwen3-vl-4b", "--together", "--gpu", "h100", "--context", "1k",
              "--images", "1920x1080"])  # fmt: skip
    out = capsys.readouterr().out
    assert "qwen3-vl-2b, qwen3-vl-4b: 1 x image of 1920x1080: 2,040 tokens" in out


def test_llama_cpp_says_which_tokens_are_an_images(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "fit",
        "qwen3-vl-4b",
        "--gpu",
        "rtx-4090",
        "--engine",
        "llama.cpp",
        "--context",
        "1k",
        "--images",
    )
    for words in (("1920x1080", "--dtype", "q4_k_m"), ("1920x1080",)):
        with pytest.raises(SystemExit):
            main([*asked, *words])
        assert "3,066 tokens (2,042 for 1 x image of 1920x1080) x 1" in capsys.readouterr().out
