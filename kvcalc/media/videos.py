"""Which rule for video a ``model_type`` has, read as ``kvcalc.media.families`` reads images.

A video is its frames: those that the processor is given, or samples. The settings are those of
``video_preprocessor_config.json``, or ``video_processor`` inside ``processor_config.json``.

Defaults: transformers 5.23.0, the class attributes of each video processor.
"""

from collections.abc import Callable
from typing import Protocol

from kvcalc.errors import UnsupportedError
from kvcalc.media.budgeted_video import BudgetedVideo
from kvcalc.media.frame_by_frame import FrameByFrame
from kvcalc.media.framed_video import FramedVideo
from kvcalc.media.pooled_budget import PooledBudget
from kvcalc.media.remote_code import kimi_media
from kvcalc.media.source import Source, value_at
from kvcalc.media.words import Image, Placeholders


class VideoRule(Protocol):
    """What a processor makes of a video."""

    def placeholders(self, num_frames: int, image: Image) -> Placeholders:
        """The places of so many frames of one size. Raises UsageError for what it refuses."""
        ...

    def largest(self, num_frames: int) -> Image:
        """A size of the frames with the most places."""
        ...


def video_rule(model_type: str, source: Source) -> VideoRule:
    """The rule for video. Raises UnsupportedError for a type whose processor is not known."""
    if model_type in _IMAGES_ALONE:
        raise UnsupportedError(
            f"{model_type}: transformers' processor takes images and no video; its frames may be put in as "
            "images, --images FRAMESxWIDTHxHEIGHT"
        )
    if model_type not in VIDEOS:
        raise UnsupportedError(
            f"{model_type}: how many tokens it makes of a video is not known here"
        )
    return VIDEOS[model_type](source)


def _budgeted(
    least: int, most: int, *, patch: int = 14, whole: bool = False, separators: int = 0,
    unheard: bool = False, filed: int | None = None, frames: int = 2,
) -> Callable[[Source], VideoRule]:  # fmt: skip
    """unheard: the processor of all kinds passes its own bounds, whatever the file says. filed: the patch
    of the class that reads a file, where the models have another. frames: of a group."""

    def read(source: Source) -> VideoRule:
        low, high = least, most
        if not unheard:
            low, high = source.bounds(
                ("min_pixels", "size.shortest_edge"), ("max_pixels", "size.longest_edge"),
                (least, most),
            )  # fmt: skip
        read_from_file = filed is not None and source.settings is not None and not source.published
        return BudgetedVideo(
            kind="budgeted_video",
            shortest_edge=low,
            longest_edge=high,
            patch_size=source.get("patch_size", default=(filed or 0) if read_from_file else patch),
            merge_size=source.get("merge_size", default=2),
            temporal_patch_size=source.get("temporal_patch_size", default=frames),
            whole=whole,
            separators=separators,
        )

    return read


def _llava_onevision(source: Source) -> VideoRule:
    # The projector's places of one image: 27 x 27 of SigLIP's 384 pixels.
    side = source.edge("vision_config.image_size", "size", default=384)
    patches = side // source.get("vision_config.patch_size", default=14)
    pooled = -(-patches // 2)
    return FramedVideo(kind="framed_video", frame_tokens=pooled * pooled, side=side, end=1)


def _llava_next_video(source: Source) -> VideoRule:
    side = source.edge("crop_size", default=224)
    patches = side // source.get("vision_config.patch_size", "patch_size", default=14)
    return FramedVideo(kind="framed_video", frame_tokens=patches * patches // 4, side=side)


def _video_llava(source: Source) -> VideoRule:
    side = source.edge("crop_size", default=224)
    patches = side // source.get("vision_config.patch_size", "patch_size", default=14)
    return FramedVideo(kind="framed_video", frame_tokens=patches * patches + 1, side=side)


def _internvl(source: Source) -> VideoRule:
    tokens = source.get("image_seq_length", default=256)
    return FramedVideo(kind="framed_video", frame_tokens=tokens, side=448, separators=2)


def _gemma4(source: Source) -> VideoRule:
    frame = PooledBudget(
        kind="pooled_budget",
        patch_size=source.get("patch_size", default=16),
        pooling_kernel_size=source.get("pooling_kernel_size", default=3),
        max_soft_tokens=source.get("max_soft_tokens", default=70),
    )
    sampled = source.flag("do_sample_frames", True)
    return FrameByFrame(
        kind="frame_by_frame", frame=frame, separators=2,
        most_frames=source.get("num_frames", default=32) if sampled else None,
    )  # fmt: skip


def _kimi_k25(source: Source) -> VideoRule:
    frame = kimi_media(source, 4096, each="in_patch_limit_each_frame")
    if value_at(source.settings or {}, "media_proc_cfg.in_patch_limit_video") is not None:
        raise UnsupportedError("in_patch_limit_video: a bound on all frames is not known here")
    group = ("temporal_patch_size", "media_proc_cfg.temporal_merge_kernel_size")
    # Begin, content and end around each chunk.
    return FrameByFrame(kind="frame_by_frame", frame=frame, separators=3,
                        group=source.get(*group, default=4))  # fmt: skip


_QWEN2 = _budgeted(128 * 28 * 28, 28 * 28 * 768)
_QWEN3 = _budgeted(128 * 32 * 32, 32 * 32 * 768, patch=16, whole=True, separators=2)
_GLM = _budgeted(112 * 112, 28 * 28 * 2 * 30000, whole=True, separators=2)
# Qwen2_5OmniProcessor and Qwen3OmniMoeProcessor pass these bounds themselves.
_QWEN2_OMNI = _budgeted(128 * 28 * 28, 768 * 28 * 28, unheard=True)
_QWEN3_OMNI = _budgeted(128 * 32 * 32, 768 * 32 * 32, unheard=True, patch=16, filed=14)
# A model_type of config.json -> its rule.
VIDEOS: dict[str, Callable[[Source], VideoRule]] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "qwen3_5": _QWEN3,
    "qwen3_5_moe": _QWEN3,
    "exaone4_5": _QWEN2,
    "lfm3_vl": _QWEN3,
    "cohere_compass": _QWEN3,
    "cosmos3_edge": _budgeted(4096, 25165824, patch=16, whole=True, separators=2, frames=1),
    **dict.fromkeys(("qwen2_5_omni", "qwen2_5_omni_thinker"), _QWEN2_OMNI),
    **dict.fromkeys(("qwen3_omni_moe", "qwen3_omni_moe_thinker"), _QWEN3_OMNI),
    **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v"), _GLM),
    "gemma4": _gemma4,
    "kimi_k25": _kimi_k25,
    "llava_onevision": _llava_onevision,
    "llava_next_video": _llava_next_video,
    "video_llava": _video_llava,
    "internvl": _internvl,
}
# Types of transformers' with a processor of images and none of video (5.23.0:
# VIDEO_PROCESSOR_MAPPING_NAMES).
_IMAGES_ALONE = frozenset((
    "gemma3", "gemma3n", "shieldgemma2", "llama4", "mllama", "pixtral", "mistral3", "lighton_ocr", "llava",
    "vipllava", "llava_next", "aya_vision", "cohere2_vision", "idefics2", "idefics3", "paligemma",
    "deepseek_vl", "deepseek_vl_hybrid", "janus", "chameleon", "blip-2", "phi4_multimodal", "aria",
    "lfm2_vl", "ovis2", "paddleocr_vl", "glm_ocr", "hunyuan_vl", "step3p7",
))  # fmt: skip
# Types whose prompt has words beside each group of frames, which a tokenizer divides.
WORDED = {
    "qwen3_vl": "a time stamp", "qwen3_vl_moe": "a time stamp", "qwen3_5": "a time stamp",
    "qwen3_5_moe": "a time stamp", "glm4v": "a time stamp", "internvl": "'Frame N:'",
    **dict.fromkeys(("glm4v_moe", "glm46v", "gemma4", "kimi_k25", "lfm3_vl", "cohere_compass",
                     "cosmos3_edge"), "a time stamp"),
}  # fmt: skip
