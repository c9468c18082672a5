"""Which rule for video a ``model_type`` has, read as ``kvcalc.media.families`` reads images.

A video is its frames: those that the processor is given, or samples. The settings are those of
``video_preprocessor_config.json``, or ``video_processor`` inside ``processor_config.json``.

Defaults: transformers 5.23.0, the class attributes of each video processor.
"""

from collections.abc import Callable
from typing import Protocol

from kvcalc.errors import UnsupportedError
from kvcalc.media.budgeted_video import BudgetedVideo
from kvcalc.media.framed_video import FramedVideo
from kvcalc.media.source import Source
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
    if model_type not in VIDEOS:
        raise UnsupportedError(
            f"{model_type}: how many tokens it makes of a video is not known here"
        )
    return VIDEOS[model_type](source)


def _budgeted(
    least: int, most: int, *, patch: int = 14, whole: bool = False, separators: int = 0
) -> Callable[[Source], VideoRule]:
    def read(source: Source) -> VideoRule:
        low, high = source.bounds(
            ("min_pixels", "size.shortest_edge"), ("max_pixels", "size.longest_edge"), (least, most)
        )
        return BudgetedVideo(
            kind="budgeted_video",
            shortest_edge=low,
            longest_edge=high,
            patch_size=source.get("patch_size", default=patch),
            merge_size=source.get("merge_size", default=2),
            temporal_patch_size=source.get("temporal_patch_size", default=2),
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


_QWEN2 = _budgeted(128 * 28 * 28, 28 * 28 * 768)
_QWEN3 = _budgeted(128 * 32 * 32, 32 * 32 * 768, patch=16, whole=True, separators=2)
# A model_type of config.json -> its rule.
VIDEOS: dict[str, Callable[[Source], VideoRule]] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "qwen3_5": _QWEN3,
    "qwen3_5_moe": _QWEN3,
    "glm4v": _budgeted(112 * 112, 28 * 28 * 2 * 30000, whole=True, separators=2),
    "llava_onevision": _llava_onevision,
    "llava_next_video": _llava_next_video,
    "video_llava": _video_llava,
    "internvl": _internvl,
}
# Types whose prompt has words beside each group of frames, which a tokenizer divides.
WORDED = {
    "qwen3_vl": "a time stamp", "qwen3_vl_moe": "a time stamp", "qwen3_5": "a time stamp",
    "qwen3_5_moe": "a time stamp", "glm4v": "a time stamp", "internvl": "'Frame N:'",
}  # fmt: skip
