"""The largest item of each modality that vLLM plans for: its encoder cache has room for one.

    qwen2 kind   an image; a video of 14 frames at the image's size, or as many pairs of frames as the
                 longest request holds, one at least
    qwen3 kind   an image; a pair of frames of the video processor's whole budget, whatever the length
    gemma4       an image; 32 frames of 70 tokens, with 8 of the prompt beside each
    voxtral      a sound as long as the longest request
    omni         as qwen2, and a sound of 30 seconds, 750 tokens
    internvl     an image; a video of as many frames as the longest request holds beside it
    llava_onevision   an image of 1153 x 944; 16 frames, or as many as the longest request holds

Source: vLLM 0.33.0, multimodal/encoder_budget.py (MultiModalBudget) and get_mm_max_tokens_per_item of
model_executor/models/qwen2_vl.py, qwen3_vl.py, gemma4_mm.py, voxtral.py, qwen2_audio.py,
qwen2_5_omni_thinker.py; run: ``python -m tests.engines.vllm_items``. InternVL's and LLaVA-OneVision's
classes make items up and count them: their frames are what get_num_frames_with_most_features of
internvl.py and llava_onevision.py says. GLM-4V's has not been run: of its videos nothing is known here.
"""

from collections.abc import Callable

from kvcalc.errors import UnsupportedError
from kvcalc.media.budgeted_video import BudgetedVideo
from kvcalc.media.families import image_rule
from kvcalc.media.framed_video import FramedVideo
from kvcalc.media.pixel_budget import PixelBudget
from kvcalc.media.source import Source, value_at
from kvcalc.media.tiles import Tiles
from kvcalc.media.videos import video_rule
from kvcalc.media.words import Image, LargestItem

# A model_type -> its processors' settings, of images and of videos -> its items.
_Rule = Callable[[str, Source, Source], LargestItem]
_FRAMES = 14


def _image(model_type: str, source: Source) -> int | None:
    try:
        rule = image_rule(model_type, source)
        return rule.placeholders(rule.largest()).tokens
    except UnsupportedError:
        return None


def _qwen2(model_type: str, images: Source, videos: Source) -> LargestItem:
    tokens = _image(model_type, images)
    if tokens is None:
        return LargestItem(image=None, video=None)
    group = images.get("temporal_patch_size", default=2)
    return LargestItem(image=tokens, video_step=tokens, max_steps=-(-_FRAMES // group))


def _omni(model_type: str, images: Source, videos: Source) -> LargestItem:
    found = _qwen2(model_type, images, videos)
    return LargestItem(image=found.image, video=found.video, video_step=found.video_step,
                       max_steps=found.max_steps, audio=750)  # fmt: skip


def _qwen3(model_type: str, images: Source, videos: Source) -> LargestItem:
    try:
        rule = video_rule(model_type, videos)
    except UnsupportedError:
        rule = None
    video = None
    if isinstance(rule, BudgetedVideo):
        # vLLM halves the budget of all frames for the size of two.
        frame = PixelBudget(
            kind="pixel_budget", shortest_edge=1, merge_size=rule.merge_size, patch_size=rule.patch_size,
            longest_edge=max(1, rule.longest_edge // rule.temporal_patch_size),
        ).largest()  # fmt: skip
        video = rule.placeholders(2, frame).tokens
    return LargestItem(image=_image(model_type, images), video=video)


# Language models whose vocabulary has a place for a frame of InternVL's (ctx_video_token).
_WITH_VIDEO = ("qwen2", "qwen3", "qwen3_moe", "gpt_oss")


def _internvl(model_type: str, images: Source, videos: Source) -> LargestItem:
    tokens = _image(model_type, images)
    rule = image_rule(model_type, images) if tokens is not None else None
    if not isinstance(rule, Tiles):
        return LargestItem(image=tokens, video=None)
    text = value_at(images.config, "llm_config.model_type")
    if text is not None and text not in _WITH_VIDEO:
        return LargestItem(image=tokens)
    return LargestItem(image=tokens, video_step=rule.image_seq_length, beside_image=True)


def _llava_onevision(model_type: str, images: Source, videos: Source) -> LargestItem:
    try:
        tokens = image_rule(model_type, images).placeholders(Image(1153, 944)).tokens
        video = video_rule(model_type, videos)
    except UnsupportedError:
        return LargestItem(image=None, video=None)
    if not isinstance(video, FramedVideo):
        return LargestItem(image=tokens, video=None)
    return LargestItem(image=tokens, video_step=video.frame_tokens, max_steps=16,
                       video_end=video.end)  # fmt: skip


def _gemma4(model_type: str, images: Source, videos: Source) -> LargestItem:
    tokens = value_at(images.config, "vision_config.default_output_length")
    heard = images.config.get("audio_config", {}) is not None
    return LargestItem(image=tokens if type(tokens) is int and tokens > 0 else 280,
                       video=32 * (70 + 2 + 6), audio=750 if heard else 0)  # fmt: skip


def _heard(model_type: str, images: Source, videos: Source) -> LargestItem:
    return LargestItem(audio=750)


def _whole(model_type: str, images: Source, videos: Source) -> LargestItem:
    return LargestItem(audio_whole=True)


def _images_alone(model_type: str, images: Source, videos: Source) -> LargestItem:
    return LargestItem(image=_image(model_type, images))


_QWEN3_TYPES = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
_OMNI_TYPES = (
    "qwen2_5_omni", "qwen2_5_omni_thinker", "qwen3_omni_moe", "qwen3_omni_moe_thinker"
)  # fmt: skip
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _qwen2),
    **dict.fromkeys(_QWEN3_TYPES, _qwen3),
    **dict.fromkeys(_OMNI_TYPES, _omni),
    **dict.fromkeys(("internvl", "internvl_chat"), _internvl),
    "llava_onevision": _llava_onevision,
    "gemma4": _gemma4, "qwen2_audio": _heard, "voxtral": _whole,
    # vLLM's classes of these take images and nothing else (get_supported_mm_limits).
    **dict.fromkeys(("gemma3", "llama4", "llava", "llava_next", "paligemma", "lfm2_vl", "idefics3",
                     "step3_vl", "step3p7", "mistral3", "pixtral", "dots_ocr",
                     "cohere2_vision", "phi3_v", "deepseek_vl_v2", "kimi_vl", "kimi_k3"), _images_alone),
}  # fmt: skip


def largest_item(model_type: str, images: Source, videos: Source, parts: set[str]) -> LargestItem:
    """What vLLM plans for. images, videos: how the processors of each are set. parts: vision, audio, as
    the model has them."""
    if model_type not in _RULES:
        seen, heard = "vision" in parts, "audio" in parts
        return LargestItem(image=_image(model_type, images) if seen else 0, video=None if seen else 0,
                           audio=None if heard else 0)  # fmt: skip
    return _RULES[model_type](model_type, images, videos)
