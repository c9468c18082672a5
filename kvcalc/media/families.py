"""Which rule for images a ``model_type`` has, read from config.json and the processor's settings beside it.

``preprocessor_config.json`` (or ``image_processor`` inside ``processor_config.json``) decides how many
tokens an image makes; config.json only names the tower. Where the settings are not given, the values
of the processor's class stand in and the answer says so: the two may differ twelvefold.

Defaults: transformers 5.23.0, the class attributes of each image processor.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from kvcalc.errors import UnsupportedError
from kvcalc.media import llava, remote_code
from kvcalc.media.adaptive_slices import AdaptiveSlices
from kvcalc.media.canvas_or_shape import CanvasOrShape
from kvcalc.media.canvas_tiles import CanvasTiles
from kvcalc.media.capped_grid import CappedGrid
from kvcalc.media.coded_grid import CodedGrid
from kvcalc.media.cross_attended import CrossAttended
from kvcalc.media.fixed import FixedTokens
from kvcalc.media.longest_edge import LongestEdge
from kvcalc.media.masked_crops import MaskedCrops
from kvcalc.media.overlapping_crops import OverlappingCrops
from kvcalc.media.patch_range import PatchRange
from kvcalc.media.pixel_budget import PixelBudget
from kvcalc.media.pooled_budget import PooledBudget
from kvcalc.media.scaled_tiles import ScaledTiles
from kvcalc.media.sliding_windows import SlidingWindows
from kvcalc.media.source import MAX_TILES, Source, short, value_at
from kvcalc.media.tiles import Tiles
from kvcalc.media.tiles_or_whole import TilesOrWhole
from kvcalc.media.words import ImageRule


def image_rule(model_type: str, source: Source) -> ImageRule:
    """The rule for images. Raises UnsupportedError for a type whose processor is not known."""
    if model_type not in IMAGES:
        raise UnsupportedError(
            f"{model_type}: how many tokens it makes of an image is not known here; count them with "
            "its own processor and add them to --context"
        )
    if model_type not in remote_code.OWN_CODE and not source.flag("do_resize", True):
        raise UnsupportedError(
            f"{source.place('do_resize')} = false: images are taken as they are, and only those whose "
            "sides suit the tower: how many tokens they make is not known here"
        )
    for key, own in UNHEARD.get(model_type, {}).items():
        if isinstance(own, bool):
            source.flag(key, own)
    return IMAGES[model_type](source)


def _pixel_budget(
    least: int, most: int, *, patch: int = 14, merge: int = 2, separators: int = 2, frames: int = 0,
    grow_first: Literal["proportional", "rounded"] | None = None, row_ends: bool = False,
    filed: tuple[int, int, int] | None = None,
) -> Callable[[Source], ImageRule]:  # fmt: skip
    """frames: that an image counts as, where the file may say so; 0: one, whatever it says. filed: least,
    most and patch of the class that reads a file, where the models have others."""

    def read(source: Source) -> ImageRule:
        usual = (least, most, patch)
        if filed is not None and source.settings is not None and not source.published:
            usual = filed
        low, high = source.bounds(
            ("min_pixels", "size.shortest_edge"), ("max_pixels", "size.longest_edge"), usual[:2]
        )
        return PixelBudget(
            kind="pixel_budget",
            shortest_edge=low,
            longest_edge=high,
            patch_size=source.get("patch_size", default=usual[2]),
            merge_size=source.get("merge_size", default=merge),
            separators=separators,
            frames=source.get("temporal_patch_size", default=frames) if frames else 1,
            grow_first=grow_first,
            row_ends=row_ends,
        )

    return read


def _fixed(tokens: int, separators: int = 0, side: int = 224) -> Callable[[Source], ImageRule]:
    def read(source: Source) -> ImageRule:
        return FixedTokens(
            kind="fixed",
            image_seq_length=source.get("image_seq_length", "num_image_tokens", default=tokens),
            separators=separators,
            side=source.edge("size", default=side),
        )

    return read


def _llava(source: Source) -> ImageRule:
    if value_at(source.config, "vision_config.model_type") == "pixtral":
        # LLaVA with Pixtral's tower has Pixtral's processor: images keep their shape.
        return IMAGES["pixtral"](source)
    return llava.llava(source)


def _longest_edge(
    edge: int, patch: int, merge: int, *, row_ends: bool = True, merge_after: bool = False
) -> Callable[[Source], ImageRule]:
    def read(source: Source) -> ImageRule:
        return LongestEdge(
            kind="longest_edge",
            longest_edge=source.get("size.longest_edge", default=edge),
            patch_size=source.edge("patch_size", "vision_config.patch_size", default=patch),
            spatial_merge_size=source.get("spatial_merge_size", default=merge),
            row_ends=row_ends,
            merge_after=merge_after,
        )

    return read


def _tiles(source: Source) -> tuple[int, int]:
    """Fewest and most tiles. The processor says itself that images are cut, whatever its file says."""
    return source.bounds(("min_patches",), ("max_patches",), (1, 12), MAX_TILES)


def _internvl(source: Source) -> ImageRule:
    least, most = _tiles(source)
    return Tiles(
        kind="tiles",
        size=source.edge("size", "vision_config.image_size", default=448),
        image_seq_length=source.get("image_seq_length", default=256),
        max_patches=most,
        min_patches=least,
        separators=2,
    )


def _aya(source: Source) -> ImageRule:
    side = source.edge("size", default=364)
    least, most = _tiles(source)
    return Tiles(
        kind="tiles",
        size=side,
        image_seq_length=(
            source.get("img_size", default=364) // source.get("patch_size", default=28)
        )
        ** 2,
        max_patches=most,
        min_patches=least,
        separators=3,
        per_tile=1,
    )


def _cohere2_vision(source: Source) -> ImageRule:
    side = source.edge("size", default=512)
    patch = source.get("patch_size", default=16)
    return Tiles(
        kind="tiles",
        size=side,
        image_seq_length=patch**2,
        max_patches=source.get("max_patches", default=12, most=MAX_TILES),
        crop_to_patches=source.flag("crop_to_patches", True),
        choice="least_scaling",
        separators=3,
        per_tile=1,
    )


def _ovis2(source: Source) -> ImageRule:
    if source.flag("crop_to_patches", False):
        raise UnsupportedError(
            "ovis2 with crop_to_patches: its indicator tokens are not accounted for"
        )
    return FixedTokens(
        kind="fixed",
        image_seq_length=source.get("image_seq_length", default=256),
        separators=3,
        side=source.edge("size", default=384),
    )


def _scaled_tiles(source: Source) -> ImageRule:
    tile = source.get("max_image_size.longest_edge", "vision_config.image_size", default=364)
    scale = source.get("scale_factor", default=2)
    patch = source.get("vision_config.patch_size", default=14)
    return ScaledTiles(
        kind="scaled_tiles",
        longest_edge=source.get(
            "size.longest_edge", default=4 * (tile if source.settings is None else 364)
        ),
        max_image_size=tile,
        image_seq_len=source.get("image_seq_len", default=(tile // patch // scale) ** 2),
        do_image_splitting=source.flag("do_image_splitting", True),
    )


def _idefics2(source: Source) -> ImageRule:
    tokens = source.get("image_seq_len", default=64)
    if source.flag("do_image_splitting", False):
        return FixedTokens(kind="fixed", image_seq_length=5 * tokens, separators=6)
    return FixedTokens(kind="fixed", image_seq_length=tokens, separators=2)


def _llama4(source: Source) -> ImageRule:
    side = source.edge("size", "vision_config.image_size", default=336)
    patch = source.get("vision_config.patch_size", default=14)
    ratio = value_at(source.config, "vision_config.pixel_shuffle_ratio")
    if ratio not in (None, 0.5, 1):
        raise UnsupportedError(f"pixel_shuffle_ratio = {short(ratio)}: only 0.5 and 1 are known")
    pooled = 1 if ratio == 1 else 4
    return CanvasTiles(
        kind="canvas_tiles",
        size=side,
        image_seq_length=(side // patch) ** 2 // pooled,
        max_patches=source.get("max_patches", default=16, most=MAX_TILES),
        resize_to_max_canvas=source.flag("resize_to_max_canvas", False),
    )


def _mllama(source: Source) -> ImageRule:
    return CrossAttended(
        kind="cross_attended",
        image_size=source.edge("size", "vision_config.image_size", default=560),
        patch_size=source.get("vision_config.patch_size", default=14),
        max_image_tiles=source.get("max_image_tiles", "vision_config.max_num_tiles", default=4),
    )


def _gemma3(source: Source) -> ImageRule:
    # Pan and scan is a server's or a caller's to ask for: see UNHEARD.
    return FixedTokens(
        kind="fixed",
        image_seq_length=source.get("image_seq_length", "mm_tokens_per_image", default=256),
        separators=4,
        side=source.edge("size", default=896),
    )


def _gemma4(source: Source) -> ImageRule:
    return PooledBudget(
        kind="pooled_budget",
        patch_size=source.get("patch_size", default=16),
        pooling_kernel_size=source.get("pooling_kernel_size", default=3),
        max_soft_tokens=source.get("max_soft_tokens", default=280),
    )


def _step3p7(source: Source) -> ImageRule:
    # vision_patch_size and downsampler_stride of the processor: 14 x 4 pixels of a side make a place.
    stride = source.get("vision_patch_size", default=14) * source.get(
        "downsampler_stride", default=4
    )
    return SlidingWindows(
        kind="sliding_windows",
        size=source.edge("size", default=728),
        patch_size=source.get("patch_size", default=504),
        max_image_size=source.get("max_image_size", default=3024),
        stride=stride,
        whole=True,
    )


def _muse_glimmer(source: Source) -> ImageRule:
    return CappedGrid(
        kind="capped_grid",
        patch_size=source.get("patch_size", default=14),
        merge_size=source.get("merge_size", default=2),
        max_image_tokens=source.get("max_image_tokens", default=4096),
    )


def _nemotron_omni(source: Source) -> ImageRule:
    ratio = value_at(source.settings or {}, "downsample_ratio")
    if ratio not in (None, 0.5):
        raise UnsupportedError(f"downsample_ratio = {short(ratio)}: only 0.5 is known")
    least, most = source.bounds(("min_num_patches",), ("max_num_patches",), (1024, 13312))
    longest = source.get("max_model_len", default=16384)
    bound = max((longest - 4) * 4, least)
    return PatchRange(
        kind="patch_range",
        patch_size=source.get("patch_size", default=16),
        merge_size=2,
        min_num_patches=least,
        max_num_patches=max(min(bound, most), least),
    )


def _phi4(source: Source) -> ImageRule:
    return MaskedCrops(
        kind="masked_crops",
        size=source.edge("size", default=448),
        patch_size=source.get("patch_size", default=14),
        dynamic_hd=source.get("dynamic_hd", default=36, most=MAX_TILES),
    )


def _lfm2(source: Source) -> ImageRule:
    fewest, tiles = source.bounds(("min_tiles",), ("max_tiles",), (2, 10), MAX_TILES)
    least, most = source.bounds(("min_image_tokens",), ("max_image_tokens",), (64, 256))
    return TilesOrWhole(
        kind="tiles_or_whole",
        tile_size=source.get("tile_size", default=512),
        min_tiles=fewest,
        max_tiles=tiles,
        min_image_tokens=least,
        max_image_tokens=most,
        encoder_patch_size=source.get("encoder_patch_size", default=16),
        downsample_factor=source.get("downsample_factor", default=2),
        use_thumbnail=source.flag("use_thumbnail", True),
        do_image_splitting=source.flag("do_image_splitting", True),
    )


def _minicpmv(source: Source) -> ImageRule:
    return AdaptiveSlices(
        kind="adaptive_slices",
        scale_resolution=source.get("scale_resolution", default=448),
        max_slice_nums=source.get("max_slice_nums", default=9, most=MAX_TILES)
        if source.flag("slice_mode", True)
        else 1,
        patch_size=source.get("patch_size", default=14),
        use_image_id=source.flag("use_image_id", True),
    )


def _emu3(source: Source) -> ImageRule:
    factor = source.get("spatial_factor", default=8)
    least, most = source.bounds(("min_pixels",), ("max_pixels",), (512 * 512, 1024 * 1024))
    return CodedGrid(kind="coded_grid", min_pixels=least, max_pixels=most, factor=factor)


def _molmo2(source: Source) -> ImageRule:
    stated = source.settings or {}
    margins = sum(source.two("overlap_margins", (4, 4)))
    size, patch = source.edge("size", default=378), source.get("patch_size", default=14)
    if size // patch <= margins:
        raise UnsupportedError(f"{source.place('overlap_margins')}: crops are all margin")
    ends = source.flag("image_use_col_tokens", True)
    low = ends
    if stated.get("use_single_crop_col_tokens") is not None:
        low = source.flag("use_single_crop_col_tokens", ends)
    return OverlappingCrops(
        kind="overlapping_crops", size=size, patch_size=patch, margins=margins,
        max_crops=source.get("max_crops", default=8, most=MAX_TILES),
        pooling=source.two("pooling_size", (2, 2)), row_ends=ends, low_row_ends=low,
    )  # fmt: skip


def _perception_lm(source: Source) -> ImageRule:
    side = source.edge("tile_size", "size", default=448)
    patch = source.get("vision_config.patch_size", "patch_size", default=14)
    pooled = source.get("projector_pooling_ratio", "pooling_ratio", default=2)
    return CanvasOrShape(
        kind="canvas_or_shape",
        size=side,
        image_seq_length=(side // patch // pooled) ** 2,
        max_patches=source.get("max_num_tiles", default=36, most=MAX_TILES),
    )


# What transformers' processors pass to their image processors themselves, so that the same key of a
# file is not heard (5.23.0: ``_defaults`` of each class): model_type -> key -> what is passed.
UNHEARD: Mapping[str, Mapping[str, object]] = {
    "gemma3": {"do_pan_and_scan": False},
    "shieldgemma2": {"do_pan_and_scan": False},
    "aria": {"split_image": False, "max_image_size": 980},
    "internvl": {"crop_to_patches": True},
    "qianfan_ocr": {"crop_to_patches": True},
    "aya_vision": {"crop_to_patches": True},
}
_QWEN2 = _pixel_budget(3136, 28 * 28 * 1280)
# transformers reads their files with Qwen2-VL's class, which has Qwen2-VL's numbers by default.
_FILED = (3136, 1003520, 14)
_QWEN3 = _pixel_budget(65536, 16777216, patch=16, filed=_FILED)
_QWEN3_OMNI = _pixel_budget(3136, 12845056, patch=16, filed=_FILED)


def _hunyuan_vl(source: Source) -> ImageRule:
    if source.get("spatial_patch_size", default=1) != 1:
        raise UnsupportedError(f"{source.place('spatial_patch_size')}: only 1 is known")
    return _pixel_budget(512 * 512, 2048 * 2048, patch=16, row_ends=True)(source)


_GLM = _pixel_budget(112 * 112, 28 * 28 * 15000, frames=2, grow_first="proportional")
IMAGES: dict[str, Callable[[Source], ImageRule]] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen2_5_omni": _QWEN2,
    "qwen2_5_omni_thinker": _QWEN2,
    "exaone4_5": _QWEN2,
    "cohere_compass": _QWEN2,
    "lfm3_vl": _QWEN2,
    "dots_ocr": _QWEN2,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "qwen3_5": _QWEN3,
    "qwen3_5_moe": _QWEN3,
    "cosmos3_edge": _pixel_budget(65536, 16777216, patch=16, frames=1, grow_first="proportional"),
    "qwen3_omni_moe": _QWEN3_OMNI,
    "qwen3_omni_moe_thinker": _QWEN3_OMNI,
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
    "glm46v": _GLM,
    "glm_ocr": _GLM,
    "paddleocr_vl": _pixel_budget(147456, 2359296, separators=0, grow_first="rounded"),
    "hunyuan_vl": _hunyuan_vl,
    "minimax_m3_vl": _pixel_budget(3136, 451584, separators=0),
    "video_llama_3": _pixel_budget(3136, 1003520, merge=1, separators=0),
    "gemma3": _gemma3,
    "shieldgemma2": _gemma3,
    "gemma3n": _fixed(256, 4, 768),
    "gemma4": _gemma4,
    "gemma4_unified": _gemma4,
    "llama4": _llama4,
    "mllama": _mllama,
    "pixtral": _longest_edge(1024, 16, 1),
    "mistral3": _longest_edge(1540, 14, 2),
    "lighton_ocr": _longest_edge(1540, 14, 2, row_ends=False, merge_after=True),
    "internvl": _internvl,
    "qianfan_ocr": _internvl,
    "aya_vision": _aya,
    "cohere2_vision": _cohere2_vision,
    "ovis2": _ovis2,
    "llava": _llava,
    "vipllava": _llava,
    "llava_next_video": llava.llava_next,
    "llava_next": llava.llava_next,
    "llava_onevision": llava.llava_onevision,
    "idefics2": _idefics2,
    "idefics3": _scaled_tiles,
    "smolvlm": _scaled_tiles,
    "phi4_multimodal": _phi4,
    "kimi_k25": remote_code.kimi_k25,
    "kimi_k3": remote_code.kimi_k3,
    "kimi_vl": remote_code.kimi_vl,
    "deepseek_vl_v2": remote_code.deepseek_vl_v2,
    "minicpmv": remote_code.minicpmv,
    "internvl_chat": remote_code.internvl_chat,
    "phi3_v": remote_code.phi3_v,
    "step3_vl": remote_code.step3_vl,
    "step3p7": _step3p7,
    "muse_glimmer": _muse_glimmer,
    "nemotron_h_omni": _nemotron_omni,
    "aria": _fixed(256, 0, 980),
    "lfm2_vl": _lfm2,
    "minicpmv4_6": _minicpmv,
    "perception_lm": _perception_lm,
    "granite4_vision": llava.granite4_vision,
    "emu3": _emu3,
    "molmo2": _molmo2,
    "paligemma": _fixed(256),
    "deepseek_vl": _fixed(576, 0, 384),
    "deepseek_vl_hybrid": _fixed(576, 0, 1024),
    "janus": _fixed(576, 2, 384),
    "chameleon": _fixed(1024, 2, 512),
    "blip-2": _fixed(32),
}
