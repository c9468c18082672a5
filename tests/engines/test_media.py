"""Which media a server takes: its flags, the towers that it leaves out, and what they change.

Bytes of weights are those of vLLM 0.33.0's classes (vllm_loaded.jsonl: ``"media"``).
"""

import json
from typing import Any

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.cli.dotted import undotted
from kvcalc.engines.media import ServedMedia, limits_of, served_part
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.spec.catalog import load


def test_limits_are_read_as_vllm_reads_them() -> None:
    assert limits_of('{"image": 4, "video": 0}') == (("image", 4), ("video", 0))
    # config/multimodal.py: an object has a count, 999 where it does not say, and sizes.
    assert limits_of('{"video": {"num_frames": 32, "width": 512}, "image": {"count": 0}}') == (
        ("video", 999),
        ("image", 0),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [("4", "write JSON"), ("{}", "write JSON"), ("{image: 4}", "write JSON"), ("[" * 9999, "write JSON"),
     (f'{{"image": {"9" * 5000}}}', "write JSON"),
     ('{"images": 4}', "one of image, video, audio"), ('{"image": -1}', "-1 is not a whole number"),
     ('{"image": true}', "True is not"), ('{"image": "4"}', "'4' is not"), ('{"image": 1.5}', "1.5 is not"),
     ('{"audio": {"width": 4}}', "it has count, length"), ('{"image": {"width": 0}}', "from 1 on"),
     ('{"image": 1, "image": 2}', "said twice")],
)  # fmt: skip
def test_bad_limits_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        limits_of(text)


@pytest.mark.parametrize(
    ("name", "limits", "left"),
    [("qwen2.5-vl-7b", {"image": 0, "video": 0}, set()),
     ("qwen2.5-vl-7b", {"image": 0}, {"vision", "merger"}),
     ("gemma-3-4b", {"image": 0}, set()),
     ("gemma-4-e2b", {"audio": 0}, {"vision", "positions", "vision_projector"}),
     ("gemma-3n-e2b", {"image": 0}, {"audio", "audio_projector"}),
     ("qwen2-audio-7b", {"audio": 0}, set()),
     ("qwen2-audio-7b", {"image": 0}, {"audio", "projector"})],
)  # fmt: skip
def test_a_tower_goes_with_all_its_modalities(
    name: str, limits: dict[str, int], left: set[str]
) -> None:
    media = ServedMedia(limits=tuple(limits.items()), text=json.dumps(limits))
    spec, _ = served_part(load(name), media, "vLLM", None)
    assert set(spec.towers) == left


def test_what_is_not_known_is_refused() -> None:
    none = ServedMedia(limits=(("image", 0),), text="{}")
    with pytest.raises(UnsupportedError, match="which modalities vLLM's class of kimi_k25"):
        served_part(load("kimi-k2.5"), none, "vLLM", None)
    with pytest.raises(UnsupportedError, match=r"before 0\.16 vLLM loads the towers"):
        served_part(load("gemma-3-4b"), none, "vLLM", "0.12.0")
    with pytest.raises(UsageError, match="takes no images or sound"):
        served_part(load("llama-3-8b"), ServedMedia(language_only=True), "vLLM", None)


# vLLM's class of Qwen2.5-VL 7B: 15,231,233,024 bytes of parameters without its tower and 131,072,448 of
# tables; on each of two ranks 8,968,921,088 and 131,727,808 with the tower whole.
def test_fit_counts_what_is_loaded() -> None:
    def weights(**words: object) -> int:
        found = kvcalc.fit("qwen2.5-vl-7b", "rtx-4090", context_tokens=4096, **words)  # type: ignore[arg-type]
        return found.devices[0].weight_bytes

    assert weights(language_model_only=True) == 15_231_233_024 + 131_072_448
    text = '{"image": 0, "video": 0}'
    assert weights(limit_mm_per_prompt=text) == 15_231_233_024 + 131_072_448
    assert weights(tensor=2, mm_encoder_tp_mode="data") == 8_968_921_088 + 131_727_808
    with pytest.raises(UsageError, match="weights or data"):
        weights(mm_encoder_tp_mode="both")
    with pytest.raises(UsageError, match="2 x image a request, and --limit-mm-per-prompt takes 1"):
        weights(images="2", limit_mm_per_prompt='{"image": 1}')


# vLLM's FlexibleArgumentParser makes one object of --limit-mm-per-prompt.image and its like.
@pytest.mark.parametrize(
    ("given", "made"),
    [(["--limit-mm-per-prompt.image", "4", "--limit-mm-per-prompt.video=0", "-q"],
      ["--limit-mm-per-prompt", '{"image": 4, "video": 0}', "-q"]),
     (["fit", "--limit-mm-per-prompt.video.count", "1", "--gpu", "x",
       "--limit-mm-per-prompt.video.width=9"],
      ["fit", "--limit-mm-per-prompt", '{"video": {"count": 1, "width": 9}}', "--gpu", "x"]),
     (["--context.x", "4", "--", "--limit-mm-per-prompt.image"],
      ["--context.x", "4", "--", "--limit-mm-per-prompt.image"])],
)  # fmt: skip
def test_an_object_may_be_given_part_by_part(given: list[str], made: list[str]) -> None:
    assert undotted(given) == made


@pytest.mark.parametrize(
    "given",
    ["--limit-mm-per-prompt.image", "--limit-mm-per-prompt.image --gpu", "--limit-mm-per-prompt. 4",
     "--limit-mm-per-prompt.image 4 --limit-mm-per-prompt {}", "--limit-mm-per-prompt.image 4 "
     "--limit-mm-per-prompt.image 5", "--limit-mm-per-prompt.image 4 --limit-mm-per-prompt.image.count 5"],
)  # fmt: skip
def test_a_part_that_says_nothing_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--limit-mm-per-prompt"):
        undotted(given.split())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out + captured.err


def test_the_commands_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    model = ("qwen2.5-vl-7b", "--gpu", "rtx-4090", "--language-model-only")
    status, out = run(capsys, "fit", *model, "--context", "4k")
    assert status == 0
    assert "--language-model-only: vLLM does not load merger, vision" in out
    assert "encoder cache" not in out
    parts = ("--limit-mm-per-prompt.image", "0", "--limit-mm-per-prompt.video", "0")
    status, out = run(capsys, "fit", *model[:3], *parts, "--context", "4k")
    assert status == 0
    assert "--limit-mm-per-prompt: vLLM does not load merger, vision" in out
    status, out = run(capsys, "fit", "qwen2.5-vl-7b", "gemma-3-4b", *model[1:])
    assert status == 2
    assert "of one model, whose" in out
    status, out = run(
        capsys, "fit", *model[:3], "--engine", "sglang", "--mm-encoder-tp-mode", "data"
    )
    assert status == 2
    assert "SGLang has no --mm-encoder-tp-mode" in out


# Both count an encoder cache of 16,384 embeddings, the largest image, of 3,584 bf16 numbers.
def test_capacity_counts_the_largest_image_as_fit_does() -> None:
    pool = kvcalc.capacity("qwen2.5-vl-7b", gpu="rtx-4090", max_model_len=4096).pool
    room = kvcalc.fit("qwen2.5-vl-7b", "rtx-4090", context_tokens=4096).devices[0]
    assert pool.available_bytes == room.free
    cache = next(item for item in room.overheads if item.name == "encoder cache")
    assert cache.bytes == 16_384 * 3_584 * 2


# 1,003,520 pixels are 1,280 squares of 28: the largest image; Qwen's resizing makes 26 x 47 of 1080 x 1920.
def test_a_server_may_bound_images(capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ("--mm-processor-kwargs", '{"max_pixels": 1003520}')
    model = ("qwen2.5-vl-7b", "--gpu", "rtx-4090", *bounds)
    status, out = run(capsys, "fit", *model, "--context", "4k", "--images", "1x1920x1080")
    assert status == 0
    assert "image of 1920x1080: 1,222 tokens" in out
    # Four pairs of frames of 1,280 in the request's 5,320.
    assert "the largest item: a video of 5,120" in out
    pool = json.loads(run(capsys, "capacity", *model, "--format", "json")[1])["pool"]
    # Videos of 14 frames: 7 * 1,280 tokens instead of 7 * 16,384, each of 3,584 bf16 numbers.
    whole = kvcalc.capacity("qwen2.5-vl-7b", gpu="rtx-4090").pool.available_bytes
    assert whole is not None
    assert pool["available_bytes"] - whole == (7 * 16_384 - 7 * 1_280) * 3_584 * 2


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [("qwen2.5-vl-7b", '{"min_pixels": 99999999999999999999}', "an image has at most"),
     ("qwen2.5-vl-7b", '{"fps": 2}', "what fps does is not known"), ("qwen2.5-vl-7b", "9", "write JSON"),
     ("qwen2.5-vl-7b", '{"max_pixels": 0}', "0 is not a whole number from 1"),
     ("qwen2.5-vl-7b", '{"max_pixels": 9, "min_pixels": 10}', "10 is more than max_pixels 9"),
     ("qwen2.5-vl-7b", '{"max_pixels": 1}', "min_pixels = 3,136 is above max_pixels = 1"),
     ("qwen2.5-vl-7b", f'{{"max_pixels": {10**30}}}', "max_pixels"),
     ("llava-1.5-7b", '{"max_pixels": 9}', "images of llava are not bounded by pixels")],
)  # fmt: skip
def test_other_settings_of_a_processor_are_refused(
    capsys: pytest.CaptureFixture[str], model: str, text: str, said: str
) -> None:
    asked = ("fit", model, "--gpu", "rtx-4090", "--context", "4k", "--mm-processor-kwargs", text)
    status, out = run(capsys, *asked)
    assert status == 2
    assert said in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [({"language_model_only": True}, "--language-model-only says what is left of a GPU"),
     ({"mm_processor_cache_gb": 4}, "--mm-processor-cache-gb says what is left of a GPU"),
     ({"limit_mm_per_prompt": "garbage"}, "write JSON")],
)  # fmt: skip
def test_of_a_stated_memory_they_decide_nothing(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kvcalc.capacity("qwen3-vl-8b", available="10GiB", **flags)


# A program's object is the command line's JSON: vLLM's LLM takes both.
def test_the_library_takes_objects() -> None:
    for given in ({"max_pixels": 1003520}, '{"max_pixels": 1003520}'):
        found = kvcalc.fit(
            "qwen2.5-vl-7b", "rtx-4090", context_tokens=4096, mm_processor_kwargs=given,
            limit_mm_per_prompt={"video": 0},
        )  # fmt: skip
        cache = next(one for one in found.devices[0].overheads if one.name == "encoder cache")
        # A step's 2,048 tokens, more than an image's 1,280, each of 3,584 bf16 numbers.
        assert cache.bytes == 2_048 * 3_584 * 2
    for wrong in (7, {"max_pixels": object()}, {"max_pixels": 1.5}):
        with pytest.raises(UsageError, match="--mm-processor-kwargs"):
            kvcalc.fit("qwen2.5-vl-7b", "rtx-4090", context_tokens=4096, mm_processor_kwargs=wrong)  # type: ignore[arg-type]
