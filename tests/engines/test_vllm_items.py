"""The largest items that vLLM 0.33.0's own MultiModalBudget planned for (vllm_items.py measured them)."""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.media.largest import largest_item
from kvcalc.media.source import Source

TABLE = json.loads(Path(__file__).with_name("vllm_items.json").read_text("utf-8"))
PARTS = {"vision", "audio"}


def found(row: dict[str, Any]) -> Any:
    """What kvcalc plans for the settings of a row."""
    patch = {"patch_size": 16} if row["model_type"].startswith("qwen3") else {}
    canvases = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
    config = {"image_grid_pinpoints": canvases} if row["model_type"] == "llava_onevision" else {}
    images, videos = (
        Source(config, {**patch, **({"size": row[kind]} if row[kind] else {})})
        for kind in ("image", "video")
    )  # fmt: skip
    return largest_item(row["model_type"], images, videos, PARTS)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{row['model_type']}-{row['length']}-{index}")
        for index, row in enumerate(TABLE["rows"])
    ],
)
def test_as_vllm_plans(row: dict[str, Any]) -> None:
    items = dict(row["items"])
    cache = items.pop("cache")
    largest = found(row)
    # InternVL's video has what an image leaves of the request: it is not asked alone.
    for modality, tokens in ({} if largest.beside_image else items).items():
        others = dict.fromkeys({"image", "video", "audio"} - {modality}, 0)
        assert largest.of(row["length"], others) == (modality, tokens)
    of_all = largest.of(row["length"], row["limits"])
    assert max(of_all[1], TABLE["step"]) == cache
    assert largest.unknown(row["limits"]) == ()


def test_the_table_has_what_the_issue_names() -> None:
    assert TABLE["vllm"] == "0.33.0"
    assert len(TABLE["rows"]) >= 92
    assert sum("video" in row["items"] for row in TABLE["rows"]) >= 40


def test_internvl_over_a_model_without_a_place_for_frames_takes_images_alone() -> None:
    """InternVLProcessingInfo.ctx_video_token: of qwen2, qwen3, qwen3_moe and gpt_oss."""
    for text, modality in (("qwen2", "video"), ("internlm2", "image")):
        source = Source({"llm_config": {"model_type": text}}, None)
        found = largest_item("internvl_chat", source, source, PARTS).of(32768, {})
        assert found == (modality, 29440 if modality == "video" else 3328)


def encoder_cache(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit):
        main(["fit", *words, "--gpu", "h100", "--engine", "vllm", "--format", "json"])
    answer = json.loads(capsys.readouterr().out)
    (size,) = {
        item["bytes"]
        for device in answer["stages"]
        for item in device["overheads"]
        if item["name"] == "encoder cache"
    }
    return size, next(note for note in answer["assumptions"] if note.startswith("encoder cache"))


@pytest.mark.parametrize(
    ("words", "tokens", "width", "said"),
    [
        # Two pairs of frames of 16,384 in 32k: 32,768 tokens of 3,584 in bf16.
        (("qwen2.5-vl-7b", "--context", "32k"), 32768, 3584, "a video of 32,768"),
        (("qwen2.5-vl-7b", "--context", "8k"), 16384, 3584, "an image of 16,384"),
        (("qwen2.5-vl-7b", "--context", "32k", "--limit-mm-per-prompt", '{"video": 0}'), 16384, 3584,
         "an image of 16,384"),
        # Deepstack's three rows beside each.
        (("qwen3-vl-8b", "--context", "32k"), 16384, 4 * 4096, "an image of 16,384"),
        (("voxtral-mini-3b", "--context", "32k"), 32768, 3072, "a sound of 32,768"),
        # 32 frames of 78.
        (("gemma-4-e4b", "--context", "32k", "--max-num-batched-tokens", "2048"), 2496, 2560,
         "a video of 2,496"),
    ],
)  # fmt: skip
def test_the_encoder_cache_of_a_fit(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], tokens: int, width: int, said: str
) -> None:
    size, note = encoder_cache(capsys, *words)
    assert size == max(tokens, 2048) * width * 2
    assert said in note


def test_a_longer_request_needs_more_room_for_its_largest_item() -> None:
    # At 24 GiB every pair of frames that is planned for is taken from the cache.
    short = kvcalc.fit("qwen2.5-vl-7b", gpu="rtx-4090", context_tokens=8192)
    long = kvcalc.fit("qwen2.5-vl-7b", gpu="rtx-4090", context_tokens=32768)
    sizes = [
        next(one.bytes for one in answer.devices[0].overheads if one.name == "encoder cache")
        for answer in (short, long)
    ]
    assert sizes == [16384 * 3584 * 2, 32768 * 3584 * 2]
    # The longest context is one that fits when it is asked for.
    longest = short.longest_context
    assert longest is not None
    again = kvcalc.fit("qwen2.5-vl-7b", gpu="rtx-4090", context_tokens=longest)
    assert again.verdict != "does not fit"
