"""Rules against whole processors: ``processors.json``, written by ``python -m tests.media.processors``."""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.media.families import image_rule
from kvcalc.media.source import Source
from kvcalc.media.words import Image, Placeholders

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("processors.json").read_text("utf-8"))
FAMILIES: dict[str, Any] = TABLE["families"]


@pytest.mark.parametrize("name", FAMILIES)
def test_places_are_what_the_processor_counted(name: str) -> None:
    row = FAMILIES[name]
    rule = image_rule(row["model_type"], Source(row["config"], row["settings"]))
    for size, (tokens, separators) in row["rows"].items():
        width, height = map(int, size.split("x"))
        places = rule.placeholders(Image(width, height))
        assert places.tokens == tokens, size
        assert separators in (None, places.separators), size


def _tokens(name: str, *images: str) -> list[int]:
    media = kvcalc.estimate(name, context_tokens="1k", images=list(images)).workload.media
    return [item.tokens for item in media]


def test_published_models() -> None:
    # vLLM 0.33.0: DeepSeek-OCR's "Gundam" mode, 16 x 17 + 1 and two tiles of 10 x 10 in rows of 21.
    assert _tokens("deepseek-ocr", "1x1920x1080", "1x640x640") == [483, 273]
    # vLLM's test of Phi-3-vision: 757 places with the four crops of Phi-3.5-vision's file.
    assert _tokens("phi-3.5-vision", "1x1920x1080") == [757]
    assert _tokens("dots.ocr", "1") == [14400]


def test_more_than_two_images_of_deepseek_vl2_are_not_cut() -> None:
    """vLLM 0.33.0, deepseek_vl2.py: ``cropping = len(images) <= 2``."""
    assert _tokens("deepseek-vl2-small", "2x1920x1080") == [1807]
    assert _tokens("deepseek-vl2-small", "3x1920x1080") == [421]
    assert _tokens("deepseek-vl2-small", "2x1920x1080", "1x384x384") == [421, 421]


def test_what_the_code_refuses_or_does_not_state() -> None:
    kimi = image_rule("kimi_vl", Source({}, {"pad_input": True}))
    with pytest.raises(UsageError, match="512 patches"):
        kimi.placeholders(Image(7169, 28))
    assert kimi.placeholders(Image(7140, 28)) == Placeholders(255)
    with pytest.raises(UnsupportedError, match="pad_input"):
        image_rule("kimi_vl", Source({}, {"in_token_limit": 4096}))
    with pytest.raises(UnsupportedError, match="num_crops"):
        image_rule("phi3_v", Source({}, None))
    with pytest.raises(UnsupportedError, match="candidate_resolutions"):
        image_rule("deepseek_vl_v2", Source({}, None))
    with pytest.raises(UnsupportedError, match="use_thumbnail"):
        image_rule("internvl_chat", Source({"use_thumbnail": False}, None))
    few = image_rule("nemotron_h_omni", Source({}, {"max_num_patches": 1024}))
    with pytest.raises(UsageError, match="leaves no patch"):
        few.placeholders(Image(1, 60000))
