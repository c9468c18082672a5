"""Rules for images of LLaVA and its kin, whose towers see squares, read as ``families`` does."""

import math
import re

from kvcalc.errors import UnsupportedError
from kvcalc.media.any_resolution import AnyResolution
from kvcalc.media.fixed import FixedTokens
from kvcalc.media.source import Source, short, value_at
from kvcalc.media.words import ImageRule


def llava(source: Source) -> ImageRule:
    """LLaVA, VipLLaVA: the whole image in one square."""
    side = _clip_side(source)
    patch = source.get("vision_config.patch_size", "patch_size", default=14)
    return FixedTokens(
        kind="fixed", image_seq_length=(side // patch) ** 2 + _class_token(source), side=side
    )


def _clip_side(source: Source) -> int:
    """The side of what CLIP's and SigLIP's processors leave of an image.

    CLIP's crops the middle out, of 224 pixels unless its file says how many; SigLIP's does not crop.
    """
    if source.settings is None:
        return source.edge("vision_config.image_size", default=336)
    size = value_at(source.settings, "size")
    squared = isinstance(size, int) or value_at(source.settings, "size.height") is not None
    siglip = "siglip" in str(source.settings.get("image_processor_type")).lower()
    if squared and (siglip or not source.flag("do_center_crop", True)):
        return source.edge("size", default=224)
    if not source.flag("do_center_crop", True):
        raise UnsupportedError(
            f"{source.place('do_center_crop')} = false: images keep their shape, and how many tokens "
            "they make is not known here"
        )
    if value_at(source.settings, "crop_size") is None:
        return 224
    return source.edge("crop_size", default=224)


def _class_token(source: Source) -> int:
    """Places beside the patches: CLIP's class token where it is not selected away; SigLIP has none,
    and loses a patch where one is (LlavaModel.get_image_features)."""
    strategy = value_at(source.settings or {}, "vision_feature_select_strategy")
    strategy = strategy or value_at(source.config, "vision_feature_select_strategy")
    tower = value_at(source.config, "vision_config.model_type")
    has_one = not (isinstance(tower, str) and tower.startswith("siglip"))
    beside = value_at(source.settings or {}, "num_additional_image_tokens")
    if beside is not None and beside not in (0, 1):
        raise UnsupportedError(
            f"{source.place('num_additional_image_tokens')} = {short(beside)}: 0 or 1 is known"
        )
    return int(strategy == "full") + int(has_one if beside is None else beside) - 1


def _canvases_of(source: Source, side: int) -> tuple[tuple[int, int], ...]:
    """The stated canvases. Raises UnsupportedError for one that holds no tile."""
    found = source.pairs("image_grid_pinpoints")
    if any(min(canvas) < side for canvas in found):
        raise UnsupportedError(f"image_grid_pinpoints: a canvas is smaller than a tile of {side}")
    return found


def llava_next(source: Source) -> ImageRule:
    """LLaVA-NeXT: the best canvas of squares beside the whole."""
    side = _clip_side(source)
    patch = source.get("patch_size", "vision_config.patch_size", default=14)
    return AnyResolution(
        kind="any_resolution",
        image_grid_pinpoints=_canvases_of(source, side),
        size=side,
        side=side // patch,
        base_extra=_class_token(source),
    )


def granite4_vision(source: Source) -> ImageRule:
    """Granite 4 Vision: as LLaVA-NeXT, a few queries for each window of patches."""
    side = source.edge("size", "vision_config.image_size", default=384)
    patch = source.get("patch_size", "vision_config.patch_size", default=16)
    rate = value_at(source.settings or {}, "downsample_rate") or source.config.get(
        "downsample_rate"
    )
    found = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", rate) if isinstance(rate, str) else None
    if found is None:
        raise UnsupportedError(f"downsample_rate = {short(rate)}: a fraction such as 4/8 is needed")
    places = side // patch * int(found[1]) // int(found[2])
    return AnyResolution(
        kind="any_resolution",
        image_grid_pinpoints=_canvases_of(source, side),
        size=side,
        side=places,
        base_extra=_class_token(source),
    )


def llava_onevision(source: Source) -> ImageRule:
    """LLaVA-OneVision: as LLaVA-NeXT, pooled beyond so many squares."""
    side = source.edge("size", "vision_config.image_size", default=384)
    ratio = source.config.get("vision_aspect_ratio", "anyres_max_9")
    if not isinstance(ratio, str) or not re.fullmatch(r"anyres_max_[1-9][0-9]?", ratio):
        raise UnsupportedError(f"vision_aspect_ratio = {short(ratio)}: only anyres_max_N is known")
    patch = source.get("vision_config.patch_size", default=14)
    places = source.get("num_image_tokens", default=(side // patch) ** 2)
    return AnyResolution(
        kind="any_resolution",
        image_grid_pinpoints=_canvases_of(source, side),
        size=side,
        side=math.isqrt(places),
        max_tiles=int(ratio.removeprefix("anyres_max_")),
    )
