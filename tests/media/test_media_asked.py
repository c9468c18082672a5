"""Images and sound as a question: how they are written, what they add, what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.media.asked import images, sounds
from kvcalc.media.families import image_rule
from kvcalc.media.source import Source
from kvcalc.media.words import Image

# A small Qwen2.5-VL, as its config.json and preprocessor_config.json lie in a folder.
CONFIG: dict[str, Any] = {
    "model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1024, "tie_word_embeddings": False,
    "max_position_embeddings": 32768, "vision_config": {"depth": 2, "hidden_size": 32},
}  # fmt: skip
PUBLISHED = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2}


def test_written_as_people_write_them() -> None:
    assert (images("10").count, images("10").size) == (10, None)
    assert (images("4x1920x1080").count, images("4x1920x1080").size) == (4, Image(1920, 1080))
    assert (images("1920x1080").count, images("1920x1080").size) == (1, Image(1920, 1080))
    assert (sounds("2x1.5s").count, sounds("2x1.5s").seconds * 2) == (2, 3)


@pytest.mark.parametrize("text", ["0", "4x1080", "1920x63", "1x0x10", "1x99999x1", "-1", "x", ""])
def test_refused_images(text: str) -> None:
    with pytest.raises(kvcalc.UsageError, match="--images"):
        images(text)


@pytest.mark.parametrize("text", ["30", "0s", "1m", "s", "999999s"])
def test_refused_sounds(text: str) -> None:
    with pytest.raises(kvcalc.UsageError, match="--audio"):
        sounds(text)


def test_the_places_join_the_context() -> None:
    """Gemma 3: 256 places and 4 separators an image (processing_gemma3.py of transformers 5.23.0)."""
    answer = kvcalc.estimate("gemma-3-27b", context_tokens="2k", images="4x640x480")
    assert answer.workload.context_tokens == 2048 + 4 * 260
    plain = kvcalc.estimate("gemma-3-27b", context_tokens=3088)
    assert answer.cache.bytes == plain.cache.bytes
    assert any("preprocessor_config.json" in note for note in answer.assumptions)


def test_cross_attention_keeps_every_tile() -> None:
    """Llama 3.2 Vision: 6,404 keys an image, one token in the prompt (modeling_mllama.py)."""
    answer = kvcalc.estimate("llama-3.2-11b-vision", context_tokens=1024, images="2x200x200")
    assert (answer.workload.context_tokens, answer.workload.encoder_tokens) == (1026, 12808)


CLASS = PUBLISHED | {"max_pixels": 1003520}


@pytest.mark.parametrize(("settings", "tokens"), [(None, 15301), (CLASS, 1230), (PUBLISHED, 15301)])
def test_the_file_beside_the_config_decides(
    tmp_path: Path, settings: dict[str, int] | None, tokens: int
) -> None:
    """4000x3000: 1,230 tokens with the class's bounds, 15,301 with the published ones (5.23.0), which
    stand in where no file lies beside: all models of the type that were read have them."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    if settings is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings), "utf-8")
    answer = kvcalc.estimate(tmp_path, context_tokens=100, images="1x4000x3000")
    (item,) = answer.workload.media
    assert (item.tokens, item.separators) == (tokens, 2)
    assert answer.to_dict()["workload"]["media"] == [
        {"kind": "image", "count": 1, "size": "4000x3000", "tokens": tokens, "separators": 2}
    ]
    assumed = any("preprocessor_config.json of Qwen2.5-VL sets" in n for n in answer.assumptions)
    assert assumed is (settings is None)
    fit = kvcalc.fit(tmp_path, "h100", context_tokens=100, images="1x4000x3000", engine="logical")
    assert fit.request.workload.context_tokens == 102 + tokens


def test_a_shipped_model_is_asked_as_it_is_published() -> None:
    """1920x1080 under Qwen2.5-VL's published bounds: 2,691 tokens, 1,222 under the class's own (5.23.0)."""
    answer = kvcalc.estimate("qwen2.5-vl-7b", context_tokens="8k", images="4x1920x1080")
    (item,) = answer.workload.media
    assert (item.tokens, item.separators) == (2691, 2)
    assert answer.workload.context_tokens == 18964
    assert any("max_pixels 12845056" in note for note in answer.assumptions)
    assert not any("by default" in note for note in answer.assumptions)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("smolvlm-2.2b", 1053), ("glm-ocr", 2691), ("gemma-3-4b", 256),
        ("llava-v1.6-mistral-7b", 1948), ("llava-onevision-0.5b", 7269),
        # Thirteen tiles of 64 and 81 places; rows of 64 patches; 86 x 48 patches, merged by four.
        ("smolvlm-256m", 832), ("smolvlm-500m", 832), ("smolvlm2-2.2b", 1053),
        ("pixtral-12b", 2304), ("kimi-vl-a3b", 1032), ("qwen2.5-omni-7b", 2691),
    ],
)  # fmt: skip
def test_shipped_models_have_their_published_settings(model: str, tokens: int) -> None:
    """1920x1080, counted by transformers 5.23.0's processors, set as the model's files are."""
    (item,) = kvcalc.estimate(model, images="1x1920x1080").workload.media
    assert item.tokens == tokens


@pytest.mark.parametrize(("seconds", "tokens"), [(30, 750), (90, 2250), (400, 7500)])
def test_omni_hears_300_seconds_as_it_is_published(seconds: int, tokens: int) -> None:
    """25 tokens a second, as Qwen's report has them; the extractor's class stops after 30 s."""
    answer = kvcalc.estimate("qwen2.5-omni-7b", audio=f"{seconds}s")
    (item,) = answer.workload.media
    assert item.tokens == tokens
    assert any("of 400s of sound 300s" in note for note in answer.assumptions) == (seconds == 400)


def test_each_processor_of_one_file_has_its_own_settings(tmp_path: Path) -> None:
    """Those of sound are none of the images': a part of processor_config.json each (5.23.0)."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    parts = {"image_processor": PUBLISHED, "feature_extractor": {"max_pixels": 3136}}
    (tmp_path / "processor_config.json").write_text(json.dumps(parts), "utf-8")
    (item,) = kvcalc.estimate(tmp_path, context_tokens=100, images="1x4000x3000").workload.media
    assert item.tokens == 15301


@pytest.mark.parametrize(
    ("file", "settings", "said"),
    [
        ("preprocessor_config", {"size": 5}, "size = 5: a processor's size has"),
        ("processor_config", {"image_processor": 3}, "image_processor = 3: settings are an object"),
    ],
)
def test_settings_that_are_no_object_are_refused(
    tmp_path: Path, file: str, settings: dict[str, Any], said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    (tmp_path / f"{file}.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(kvcalc.UnsupportedError, match=said):
        kvcalc.estimate(tmp_path, context_tokens=100, images="1x640x480")


@pytest.mark.parametrize("words", [{"images": "1"}, {"audio": "30s"}])
def test_a_model_without_a_tower_takes_none(words: dict[str, str]) -> None:
    with pytest.raises(kvcalc.UsageError, match="llama-3-8b has no tower"):
        kvcalc.estimate("llama-3-8b", **words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"patch_size": 0}, {"patch_size": "14"}, {"merge_size": 1.5}, {"max_pixels": -5},
        {"max_pixels": 10**21}, {"min_pixels": True}, {"patch_size": "\x1b[31m"},
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Never the class's default in its place, a traceback, or a control character in the message."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings), "utf-8")
    (key,) = settings
    with pytest.raises(kvcalc.UnsupportedError, match=f"{key} = .*whole number") as refused:
        kvcalc.estimate(tmp_path, context_tokens=100, images="1x640x480")
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    ("file", "settings", "said"),
    [
        ("preprocessor_config", {"min_pixels": 9000, "max_pixels": 8000},
         "preprocessor_config.json: min_pixels = 9,000 is above max_pixels = 8,000"),
        ("processor_config", {"image_processor": {"size": {"shortest_edge": 10, "longest_edge": 9}}},
         "processor_config.json: size.shortest_edge = 10 is above size.longest_edge = 9"),
        ("preprocessor_config", {"max_pixels": 100},
         "preprocessor_config.json: min_pixels = 3,136 is above max_pixels = 100"),
        ("preprocessor_config", {"patch_size": 0}, "preprocessor_config.json: patch_size = 0"),
        ("preprocessor_config", {"do_resize": False}, "preprocessor_config.json: do_resize = false"),
        ("preprocessor_config", {"do_resize": 0}, "preprocessor_config.json: do_resize = 0"),
    ],
)  # fmt: skip
def test_settings_that_contradict_are_refused_with_file_and_field(
    tmp_path: Path, file: str, settings: dict[str, Any], said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    (tmp_path / f"{file}.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(kvcalc.UnsupportedError, match=re.escape(said)):
        kvcalc.estimate(tmp_path, context_tokens=100, images="1x640x480")


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("aya_vision", {"min_patches": 13}),
        ("lfm2_vl", {"min_image_tokens": 300}),
        ("lfm2_vl", {"min_tiles": 11}),
        ("nemotron_h_omni", {"max_num_patches": 100}),
        ("internvl", {"size": {"height": 448, "width": 224}}),
        ("llava", {"do_center_crop": False}),
        ("llava", {"num_additional_image_tokens": 7}),
        ("internvl", {"max_patches": 10**9}),
        ("phi4_multimodal", {"dynamic_hd": 10**9}),
        ("llava_next", {"image_grid_pinpoints": [[1, 1]]}),
        ("llava_next", {"image_grid_pinpoints": [[336, 672]] * 1000}),
        ("internvl", {"crop_to_patches": "yes"}),
    ],
)
def test_numbers_of_a_processor_have_a_bound(model_type: str, settings: dict[str, Any]) -> None:
    with pytest.raises(kvcalc.UnsupportedError):
        image_rule(model_type, Source({}, settings))


def test_what_a_processor_hands_to_its_parts_is_what_they_hear(tmp_path: Path) -> None:
    """PixtralProcessor (transformers 5.23.0) passes patch_size * spatial_merge_size to the image
    processor, whatever patch_size that one's own file has: 1344 x 756 of squares of 28."""
    text = {"model_type": "mistral", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128}  # fmt: skip
    config = {
        "model_type": "mistral3",
        "text_config": text,
        "vision_config": {"model_type": "pixtral"},
    }
    files: dict[str, dict[str, Any]] = {
        "config": config,
        "preprocessor_config": {
            "size": {"longest_edge": 1540},
            "patch_size": {"height": 16, "width": 16},
        },
        "processor_config": {"patch_size": 14, "spatial_merge_size": 2},
    }
    for name, values in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values), "utf-8")
    (item,) = kvcalc.estimate(tmp_path, context_tokens=100, images="1344x756").workload.media
    assert item.tokens == (1344 // 28) * (756 // 28)


def test_sizes_that_no_file_sets_are_said_to_be_constants() -> None:
    for name in ("deepseek-ocr", "step-3"):
        notes = kvcalc.estimate(name, context_tokens=100, images="1").assumptions
        assert any(note.startswith("sizes are constants of ") for note in notes), name
        assert not any("preprocessor_config.json" in note for note in notes), name
    notes = kvcalc.estimate("deepseek-vl2-tiny", context_tokens=100, images="1").assumptions
    assert not any(note.startswith("sizes are constants of ") for note in notes)


@pytest.mark.parametrize(
    ("name", "tokens"), [("gemma-3n-e4b", 188), ("gemma-4-e4b", 750), ("qwen2-audio-7b", 750)]
)
def test_a_sound_that_is_cut_off_says_so(name: str, tokens: int) -> None:
    """Their feature extractors keep 480,000 samples at 16 kHz (transformers 5.23.0)."""
    note = "of 90s of sound 30s are heard: the processor cuts off the rest"
    for length, said in (("30s", False), ("90s", True)):
        answer = kvcalc.estimate(name, context_tokens=100, audio=length)
        assert answer.workload.media[0].tokens == tokens
        assert answer.workload.media[0].size == length
        assert (note in answer.assumptions) is said
