"""Tokens of video, as transformers 5.23.0's processors counted them (``python -m tests.media.videos``)."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.media.asked import videos
from kvcalc.media.source import Source
from kvcalc.media.stamps import stamp_tokens
from kvcalc.media.videos import VIDEOS, video_rule
from kvcalc.media.words import Image

# frames, height, width -> tokens, with the settings of the processor's class.
COUNTED = [
    ("qwen2_vl", 120, 720, 1280, 43200), ("qwen2_vl", 16, 360, 640, 2392),
    ("qwen2_vl", 4, 64, 64, 288), ("qwen2_vl", 31, 1080, 1920, 11520),
    ("qwen3_vl", 120, 720, 1280, 180), ("qwen3_vl", 16, 360, 640, 360),
    ("qwen3_vl", 4, 64, 64, 72), ("qwen3_vl", 31, 1080, 1920, 288),
    ("glm4v", 120, 720, 1280, 27840), ("glm4v", 16, 360, 640, 2392),
    ("glm4v", 4, 64, 64, 8), ("glm4v", 31, 1080, 1920, 29696),
    # A whole processor's own _get_num_multimodal_tokens.
    ("qwen2_5_omni", 120, 720, 1280, 43200), ("qwen2_5_omni", 16, 360, 640, 2392),
    ("qwen2_5_omni", 4, 64, 64, 288), ("qwen2_5_omni", 31, 1080, 1920, 11520),
    ("exaone4_5", 120, 720, 1280, 43200), ("exaone4_5", 16, 360, 640, 2392),
    ("exaone4_5", 4, 64, 64, 288), ("exaone4_5", 31, 1080, 1920, 11520),
    ("glm46v", 120, 720, 1280, 27840), ("glm46v", 16, 360, 640, 2392),
    ("glm46v", 4, 64, 64, 8), ("glm46v", 31, 1080, 1920, 29696),
    ("glm4v_moe", 120, 720, 1280, 27840), ("glm4v_moe", 16, 360, 640, 2392),
    ("glm4v_moe", 4, 64, 64, 8), ("glm4v_moe", 31, 1080, 1920, 29696),
    ("lfm3_vl", 120, 720, 1280, 180), ("lfm3_vl", 16, 360, 640, 360),
    ("lfm3_vl", 4, 64, 64, 72), ("lfm3_vl", 31, 1080, 1920, 288),
    ("cohere_compass", 120, 720, 1280, 180), ("cohere_compass", 16, 360, 640, 360),
    ("cohere_compass", 4, 64, 64, 72), ("cohere_compass", 31, 1080, 1920, 288),
    ("cosmos3_edge", 120, 720, 1280, 22800), ("cosmos3_edge", 16, 360, 640, 3520),
    ("cosmos3_edge", 4, 64, 64, 16), ("cosmos3_edge", 31, 1080, 1920, 24087),
    ("kimi_k25", 120, 720, 1280, 32250), ("kimi_k25", 16, 360, 640, 1196),
    ("kimi_k25", 4, 64, 64, 9), ("kimi_k25", 31, 1080, 1920, 8256),
    # Patches of 16, as the models' files have them; the bounds are the whole processor's own.
    ("qwen3_omni_moe", 120, 720, 1280, 43200), ("qwen3_omni_moe", 16, 360, 640, 1760),
    ("qwen3_omni_moe", 4, 64, 64, 288), ("qwen3_omni_moe", 31, 1080, 1920, 11520),
    # 32 frames of 120 are taken, 66 places each.
    ("gemma4", 120, 720, 1280, 32 * 66), ("gemma4", 16, 360, 640, 1056), ("gemma4", 4, 64, 64, 256),
    ("gemma4", 31, 1080, 1920, 2046),
    # ceil(27 / 2)^2 a frame and a row end; 16 * 16 / 4; 16 * 16 + 1; 256.
    ("llava_onevision", 32, 1, 1, 32 * 196 + 1), ("llava_next_video", 8, 1, 1, 8 * 64),
    ("video_llava", 8, 1, 1, 8 * 257), ("internvl", 8, 1, 1, 8 * 256),
]  # fmt: skip


@pytest.mark.parametrize(("model_type", "frames", "height", "width", "tokens"), COUNTED)
def test_as_the_processor_counts(
    model_type: str, frames: int, height: int, width: int, tokens: int
) -> None:
    rule = video_rule(model_type, Source({}, None))
    assert rule.placeholders(frames, Image(width, height)).tokens == tokens


@pytest.mark.parametrize("model_type", VIDEOS)
def test_no_frame_has_more_places_than_the_largest(model_type: str) -> None:
    rule = video_rule(model_type, Source({}, None))
    for frames in (2, 33, 240):
        most = rule.placeholders(frames, rule.largest(frames)).tokens
        for sides in ((64, 64), (1280, 720), (3000, 500)):
            assert rule.placeholders(frames, Image(*sides)).tokens <= most


@pytest.mark.parametrize(
    ("text", "count", "frames", "size"),
    [
        ("60s@2fps", 1, 120, None),
        ("3x10s@0.5fps", 3, 5, None),
        ("1.5s@24fps@1280x720", 1, 36, Image(1280, 720)),
        ("0.1s@1fps", 1, 1, None),
    ],
)
def test_words(text: str, count: int, frames: int, size: Image | None) -> None:
    found = videos(text)
    assert (found.count, found.num_frames, found.frame) == (count, frames, size)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60s", "write 60s@2fps"),
        ("60@2fps", "no length and frames a second"),
        ("0s@2fps", "more than 0 and at most 86,400 seconds"),
        ("60s@0fps", "at most 1,000 frames"),
        ("60s@2fps@99999x1", "1 to 65,536 pixels"),
        ("0x60s@2fps", "--video: 1 to"),
    ],
)
def test_words_that_say_nothing(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        videos(text)


def config_of(folder: Path, **files: dict[str, Any]) -> Path:
    """A model's folder: config.json, and the files of these names."""
    for name, values in {"config": CONFIG, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


CONFIG = {
    "model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen2_5_vl_text", "vocab_size": 1000, "hidden_size": 256,
        "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 65536, "tie_word_embeddings": False,
    },
    "vision_config": {
        "model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 64, "intermediate_size": 128,
        "num_heads": 4, "out_hidden_size": 256, "patch_size": 14, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "in_channels": 3, "fullatt_block_indexes": [1],
        "window_size": 112,
    },
}  # fmt: skip


def estimated(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    with pytest.raises(SystemExit):
        main(["estimate", *words, "--format", "json"])
    return json.loads(capsys.readouterr().out)


PUBLISHED = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
LESS = {"size": {"shortest_edge": 3136, "longest_edge": 200704}}


@pytest.mark.parametrize(
    "files",
    [
        {"video_preprocessor_config": PUBLISHED},
        # No file for video: the images' is taken for it, as in Qwen2.5-VL's repository.
        {"preprocessor_config": PUBLISHED},
        {"video_preprocessor_config": PUBLISHED, "preprocessor_config": LESS},
        {"processor_config": {"video_processor": PUBLISHED}, "video_preprocessor_config": LESS},
        {"processor_config": {"image_processor": LESS}, "preprocessor_config": PUBLISHED},
    ],
)
def test_a_video_joins_the_context_as_its_settings_say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: dict[str, Any]
) -> None:
    """The file that transformers 5.23.0 loads of each (get_video_processor_dict) says 3136 and 12845056."""
    asked = (str(config_of(tmp_path, **files)), "--context", "1k", "--video", "60s@2fps@1280x720")
    found = estimated(capsys, *asked)
    # 60 pairs of frames of 728 x 1288: 26 * 46 merged patches, with published bounds.
    (media,) = found["workload"]["media"]
    assert (media["kind"], media["tokens"]) == ("video", 60 * 26 * 46)
    assert found["workload"]["context_tokens"] == 1024 + 60 * 26 * 46


@pytest.mark.parametrize(
    ("model", "tokens"), [("qwen3-vl-8b", 11400), ("qwen3.5-9b", 11400), ("qwen2.5-vl-7b", 71760)]
)
def test_a_shipped_model_sees_video_as_it_is_published(
    capsys: pytest.CaptureFixture[str], model: str, tokens: int
) -> None:
    """120 frames of 1280x720, counted by transformers 5.23.0's processors with the published settings."""
    found = estimated(capsys, model, "--video", "60s@2fps@1280x720")
    (media,) = found["workload"]["media"]
    assert media["tokens"] == tokens
    assert any("as the published" in note for note in found["assumptions"])


def test_a_model_that_sees_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    found = estimated(capsys, "llama-3-8b", "--video", "60s@2fps")
    assert "no tower for video" in found["error"]["message"]


@pytest.mark.parametrize(
    ("model_type", "frames", "seconds", "tokens"),
    [
        # As Qwen2Tokenizer divides what processing_qwen3_vl.py writes of frames sampled from videos of 24,
        # 25, 30 and 60 frames a second: 410, 4,690 and 449 of each; 60 where the bound has 61.
        ("qwen3_vl", 120, 60, 410), ("qwen3_vl", 1200, 600, 4690), ("qwen3_5", 125, 125, 449),
        ("qwen3_vl_moe", 20, 10, 61),
        # "Frame1: " to "Frame120: ", and 119 ends of lines: 4, 5 and 6 tokens each.
        ("internvl", 120, 60, 9 * 4 + 90 * 5 + 21 * 6 + 119),
        # Whole seconds from 0 to 59, of every other frame.
        ("glm4v", 120, 60, 10 + 50 * 2),
    ],
)  # fmt: skip
def test_words_beside_the_frames(model_type: str, frames: int, seconds: int, tokens: int) -> None:
    assert stamp_tokens(model_type, None, frames, Fraction(seconds)) == tokens


def test_words_that_another_tokenizer_divides_are_not_counted() -> None:
    assert stamp_tokens("internvl", "llama", 8, Fraction(4)) is None
    assert stamp_tokens("internvl", "qwen3", 8, Fraction(4)) == 8 * 4 + 7
    assert stamp_tokens("qwen2_vl", None, 8, Fraction(4)) is None


def test_an_answer_counts_the_stamps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", "qwen3-vl-8b", "--video", "60s@2fps"])
    said = capsys.readouterr().out
    # A start and an end of each of 60 groups, and the stamps' 410.
    assert "530 separators each" in said
    assert "counts among the separators, as Qwen's tokenizer divides it" in said


def test_a_bound_that_a_processor_passes_itself_is_not_read_from_its_file() -> None:
    """Qwen2_5OmniProcessor's own 602,112 pixels a frame (_defaults): 60 pairs of 720 places."""
    own = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
    rule = video_rule("qwen2_5_omni", Source({}, own))
    assert rule.placeholders(120, Image(1280, 720)).tokens == 43200
    # A file of Qwen3-Omni's that leaves out its patches has the class's 14.
    rule = video_rule("qwen3_omni_moe", Source({}, {}))
    assert rule.placeholders(120, Image(1280, 720)).tokens == 57960


def test_an_answer_says_how_many_frames_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    found = estimated(capsys, "gemma-4-e4b", "--context", "1k", "--video", "60s@2fps@1280x720")
    (media,) = found["workload"]["media"]
    assert (media["tokens"], media["separators"]) == (32 * 66, 2 * 32)
    assert media["size"] == "60s, 120 frames of 1280x720"
    assert "of 120 frames the processor takes 32, evenly" in found["assumptions"]
    assert any(
        "a time stamp beside each group of frames is not counted" in n for n in found["assumptions"]
    )


def test_a_processor_without_video_says_so() -> None:
    with pytest.raises(
        UnsupportedError, match="gemma3: transformers' processor takes images and no video"
    ):
        video_rule("gemma3", Source({}, None))
    with pytest.raises(UnsupportedError, match="smolvlm: how many tokens it makes of a video"):
        video_rule("smolvlm", Source({}, None))
