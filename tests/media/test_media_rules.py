"""The rules of images and sounds against what transformers' processors counted.

``measured.json`` is written by ``python -m tests.media.sweep``, which also compares hundreds of random
sizes; the rows of sound were measured with the processors of transformers 5.23.0 on a sine wave.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.media.cross_attended import CrossAttended
from kvcalc.media.families import IMAGES, image_rule
from kvcalc.media.sounds import audio_rule
from kvcalc.media.source import Source
from kvcalc.media.words import Image, Placeholders

MEASURED: dict[str, Any] = json.loads(Path(__file__).with_name("measured.json").read_text("utf-8"))[
    "families"
]
VISION = {"llava_onevision": {"vision_config": {"patch_size": 14}}}


def _rule(name: str) -> Any:
    row = MEASURED[name]
    return image_rule(row["model_type"], Source(VISION.get(row["model_type"], {}), row["settings"]))


@pytest.mark.parametrize("name", MEASURED)
def test_tokens_are_what_the_processor_counted(name: str) -> None:
    rule = _rule(name)
    for size, tokens in MEASURED[name]["tokens"].items():
        width, height = map(int, size.split("x"))
        assert rule.placeholders(Image(width, height)).tokens == tokens, size


# (model_type, settings, size, tokens, separators): whole processor calls on blank images, 5.23.0, with the
# switches that the processors pass to their image processors themselves.
CALLS = [
    ("gemma3", {}, (1024, 768), 256, 4),
    ("mistral3", {}, (768, 2048), 1155, 55),
    ("pixtral", {}, (1920, 1080), 2304, 36),
    ("llama4", {}, (512, 512), 720, 7),
    ("llama4", {"resize_to_max_canvas": True}, (224, 224), 2448, 19),
    ("idefics3", {"image_seq_len": 169}, (224, 224), 2873, 39),
    ("aya_vision", {}, (768, 2048), 1859, 13),
    ("cohere2_vision", {}, (1920, 1080), 3328, 15),
    ("phi4_multimodal", {}, (1920, 1080), 3918, 0),
    ("phi4_multimodal", {}, (224, 224), 545, 0),
    ("aria", {"split_image": True, "max_image_size": 490}, (1024, 768), 256, 0),
    ("aya_vision", {"crop_to_patches": False, "min_patches": 2}, (224, 224), 845, 7),
    (
        "internvl",
        {"crop_to_patches": False, "size": {"height": 384, "width": 384}},
        (640, 480),
        3328,
        2,
    ),
    ("gemma3", {"do_pan_and_scan": True}, (2048, 768), 256, 4),
    ("llava", {"do_center_crop": True}, (640, 480), 256, 0),
    (
        "llava",
        {
            "image_processor_type": "SiglipImageProcessor",
            "size": {"height": 384, "width": 384},
            "num_additional_image_tokens": 0,
            "vision_feature_select_strategy": "full",
        },
        (640, 480),
        729,
        0,
    ),
    ("qwen3_vl", {"patch_size": 16}, (1920, 1080), 943, 2),
    ("chameleon", {}, (640, 480), 1024, 2),
    ("lfm2_vl", {}, (768, 2048), 2794, 13),
    ("minicpmv4_6", {}, (1920, 1080), 578, 22),
    ("ovis2", {}, (640, 480), 256, 3),
    ("llava", {"crop_size": {"height": 336, "width": 336}}, (4000, 3000), 576, 0),
    ("perception_lm", {}, (4000, 3000), 3328, 0),
]


@pytest.mark.parametrize(("model_type", "settings", "size", "tokens", "separators"), CALLS)
def test_whole_calls(
    model_type: str, settings: dict[str, Any], size: tuple[int, int], tokens: int, separators: int
) -> None:
    rule = image_rule(model_type, Source({}, settings))
    assert rule.placeholders(Image(*size)) == Placeholders(tokens, separators)


# (model_type, settings, tokens of 1, 30 and 120 seconds)
SOUNDS = [
    ("qwen2_audio", {}, (25, 750, 750)),
    ("qwen2_5_omni", {}, (25, 750, 750)),
    ("qwen3_omni_moe", {}, (13, 390, 1560)),
    ("gemma4", {}, (25, 750, 750)),
    ("gemma3n", {}, (188, 188, 188)),
    ("audioflamingo3", {}, (25, 750, 3000)),
    ("glmasr", {}, (12, 375, 1500)),
    ("voxtral", {}, (375, 375, 1500)),
    ("phi4_multimodal", {}, (13, 375, 1500)),
]


@pytest.mark.parametrize(("model_type", "settings", "tokens"), SOUNDS)
def test_sounds(model_type: str, settings: dict[str, Any], tokens: tuple[int, ...]) -> None:
    rule = audio_rule(model_type, Source({}, settings))
    assert tuple(rule.placeholders(s * 16_000).tokens for s in (1, 30, 120)) == tokens


@pytest.mark.parametrize(
    ("model_type", "config", "settings", "tokens"),
    [
        # A tower's kind decides: processing_pixtral.py and processing_llava.py of transformers 5.23.0.
        ("llava", {"vision_config": {"model_type": "pixtral", "image_size": 1024, "patch_size": 16}},
         {"size": {"longest_edge": 1024}, "patch_size": {"height": 16, "width": 16}}, 2304),
        ("llava", {"vision_config": {"model_type": "siglip_vision_model", "image_size": 384},
                   "vision_feature_select_strategy": "full"}, None, 729),
        ("llava", {"vision_config": {"model_type": "clip_vision_model"},
                   "vision_feature_select_strategy": "full"}, None, 577),
        # SmolVLM-256M's config.json without a processor's file: 13 tiles of (512 / 16 / 4) ** 2.
        ("idefics3", {"scale_factor": 4, "vision_config": {"image_size": 512, "patch_size": 16}},
         None, 832),
        ("kimi_vl", {}, {"in_token_limit": 4096, "pad_input": True}, 1032),
        ("kimi_vl", {}, {"in_token_limit": 16384, "pad_input": True}, 2691),
    ],
)  # fmt: skip
def test_the_tower_decides(
    model_type: str, config: dict[str, Any], settings: dict[str, Any] | None, tokens: int
) -> None:
    rule = image_rule(model_type, Source(config, settings))
    assert rule.placeholders(Image(1920, 1080)).tokens == tokens


@pytest.mark.parametrize("size", [[14, 14], {"height": 14, "width": 14}])
def test_a_side_may_be_written_twice(size: object) -> None:
    rule = image_rule("qwen2_vl", Source({}, {"patch_size": size}))
    assert rule.placeholders(Image(4000, 3000)).tokens == 1230


@pytest.mark.parametrize("size", [[14, 16], {"height": 14}, {"height": 14, "width": 16}, [], {}])
def test_a_side_that_is_no_number_is_refused(size: object) -> None:
    """It was passed over, and the class's own stood in unsaid."""
    with pytest.raises(UnsupportedError, match="patch_size"):
        image_rule("qwen2_vl", Source({}, {"patch_size": size}))


def test_settings_change_the_count_by_twelve() -> None:
    published = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
    photograph = Image(4000, 3000)
    assert image_rule("qwen2_vl", Source({}, None)).placeholders(photograph).tokens == 1230
    assert image_rule("qwen2_vl", Source({}, published)).placeholders(photograph).tokens == 15301


def test_every_image_of_llama_3_2_vision_keeps_all_tiles() -> None:
    rule = image_rule(
        "mllama", Source({"vision_config": {"image_size": 560, "patch_size": 14}}, None)
    )
    assert isinstance(rule, CrossAttended)
    assert (rule.placeholders(Image(100, 100)).total, rule.encoder_tokens) == (1, 6404)


@given(st.sampled_from(sorted(MEASURED)), st.integers(28, 4096), st.integers(28, 4096))
def test_no_image_takes_more_than_the_largest(name: str, width: int, height: int) -> None:
    rule = _rule(name)
    try:
        places = rule.placeholders(Image(width, height))
    except UsageError:
        return
    assert places.tokens <= rule.placeholders(rule.largest()).tokens


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="fast_vlm"):
        image_rule("fast_vlm", Source({}, None))
    with pytest.raises(UsageError, match="200:1"):
        IMAGES["qwen2_vl"](Source({}, None)).placeholders(Image(60000, 28))


# vLLM 0.33.0's navit_resize_image, run; its own test of the largest: 1861 x 7041.
@pytest.mark.parametrize(
    ("limit", "counted"),
    [
        (65536, {(1920, 1080): 2691, (4000, 3000): 15444, (224, 224): 64, (1, 60): 3,
                 (1861, 7041): 16817, (7168, 7168): 16384, (9000, 300): 2304}),
        (16384, {(1920, 1080): 2691, (4000, 3000): 4200, (1861, 7041): 4284, (7168, 7168): 4096}),
    ],
)  # fmt: skip
def test_kimi_reads_its_own_codes_file(limit: int, counted: dict[tuple[int, int], int]) -> None:
    own = {"media_proc_cfg": {
        "in_patch_limit": limit, "patch_size": 14, "merge_kernel_size": [2, 2],
        "patch_limit_on_one_side": 512, "fixed_output_tokens": None,
    }}  # fmt: skip
    for model_type in ("kimi_k3", "kimi_k25"):
        rule = image_rule(model_type, Source({}, own))
        found = {size: rule.placeholders(Image(*size)).tokens for size in counted}
        assert found == counted
    fixed = {"media_proc_cfg": {**own["media_proc_cfg"], "fixed_output_tokens": 64}}
    with pytest.raises(UnsupportedError, match="fixed_output_tokens"):
        image_rule("kimi_k3", Source({}, fixed))


def test_the_largest_image_of_kimi_is_a_long_one() -> None:
    """KimiK3ProcessingInfo.get_max_image_size goes through all pairs of sides; here those near."""
    rule = image_rule("kimi_k3", Source({}, None))
    assert (rule.largest(), rule.placeholders(rule.largest()).tokens) == (Image(7041, 1861), 16817)
    rule = image_rule("kimi_k25", Source({}, None))
    assert rule.placeholders(rule.largest()).tokens == 4464


def test_minicpm_numbers_its_images_where_its_processors_file_says_so() -> None:
    """MiniCPMVImageProcessor: use_image_id is no without the key; three tokens of an image's number."""
    seen = {
        name: image_rule("minicpmv", Source({"use_image_id": True}, settings)).placeholders(Image(448, 448))
        for name, settings in (("no file", None), ("no key", {}), ("yes", {"use_image_id": True}))
    }  # fmt: skip
    assert {name: places.separators for name, places in seen.items()} == {
        "no file": 5, "no key": 2, "yes": 5
    }  # fmt: skip


PINPOINTS = [
    [384 * rows, 384 * columns]
    for rows in range(1, 9)
    for columns in range(1, 9)
    if rows * columns <= 10
]
SIGLIP = {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 16}


# transformers 5.23.0's Emu3Processor, Granite4VisionProcessor (_get_num_multimodal_tokens) and
# Molmo2Processor (get_image_grid_and_crops, replace_image_token), run; 400 drawn sizes of each were equal.
@pytest.mark.parametrize(
    ("model_type", "config", "counted"),
    [
        ("emu3", {}, {(224, 224): 4160, (640, 480): 4860, (1920, 1080): 16416, (768, 2048): 16511}),
        ("granite4_vision",
         {"image_grid_pinpoints": PINPOINTS, "downsample_rate": "4/8", "vision_config": SIGLIP,
          "vision_feature_select_strategy": "full"},
         {(224, 224): 300, (640, 480): 594, (1920, 1080): 1176, (768, 2048): 1524}),
        ("molmo2", {}, {(224, 224): (392, 32), (640, 480): (725, 41), (1920, 1080): (1162, 41),
                        (768, 2048): (1162, 60), (4000, 3000): (955, 41), (100, 60): (392, 32)}),
    ],
)  # fmt: skip
def test_processors_of_newer_types(
    model_type: str, config: dict[str, Any], counted: dict[tuple[int, int], Any]
) -> None:
    rule = image_rule(model_type, Source(config, None))
    for size, expected in counted.items():
        places = rule.placeholders(Image(*size))
        found = (places.tokens, places.separators) if isinstance(expected, tuple) else places.tokens
        assert found == expected, size
        assert places.tokens <= rule.placeholders(rule.largest()).tokens


def test_what_these_processors_do_not_say_is_refused() -> None:
    for rate in (None, "half", "1/", 2, "0/8"):
        with pytest.raises(UnsupportedError, match="downsample_rate"):
            image_rule(
                "granite4_vision", Source({"downsample_rate": rate, "vision_config": SIGLIP}, None)
            )
    for settings in (
        {"overlap_margins": [20, 20]},
        {"pooling_size": "2x2"},
        {"pooling_size": [0, 2]},
    ):
        with pytest.raises(UnsupportedError):
            image_rule("molmo2", Source({}, settings))
    few = image_rule("molmo2", Source({}, {"image_use_col_tokens": False, "max_crops": 1}))
    assert few.placeholders(Image(1920, 1080)).separators == 4
