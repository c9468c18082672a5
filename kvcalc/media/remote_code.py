"""Rules for images of models whose processor is their own code, read as ``families`` does.

Defaults: the classes of that code, or of vLLM 0.33.0 and SGLang 0.5.23 where they have it of their own.
"""

from kvcalc.errors import UnsupportedError
from kvcalc.media.adaptive_slices import AdaptiveSlices
from kvcalc.media.native_resolution import NativeResolution
from kvcalc.media.padded_crops import PaddedCrops
from kvcalc.media.sliding_windows import SlidingWindows
from kvcalc.media.source import MAX_TILES, Source, value_at
from kvcalc.media.tiles import Tiles
from kvcalc.media.two_views import TwoViews
from kvcalc.media.words import ImageRule


def deepseek_vl_v2(source: Source) -> ImageRule:
    """DeepSeek-VL2, DeepSeek-OCR and DeepSeek-OCR-2, which bear one model_type."""
    names = source.config.get("architectures")
    word = str(names[0]) if isinstance(names, list) and names else ""
    if word == "DeepseekOCR2ForCausalLM":
        return TwoViews(kind="two_views", base_size=1024, image_size=768, patch_size=16,
                        downsample_ratio=4, row_ends=False)  # fmt: skip
    if (
        word == "DeepseekOCRForCausalLM"
        or value_at(source.config, "vision_config.model_name") == "deeplip_b_l"
    ):
        return TwoViews(kind="two_views", base_size=1024, image_size=640, patch_size=16,
                        downsample_ratio=4)  # fmt: skip
    canvases = source.pairs("candidate_resolutions")
    side = canvases[0][0]
    if any(high % side or wide % side for high, wide in canvases):
        raise UnsupportedError(f"candidate_resolutions: not all are whole tiles of {side}")
    # The file says (width, height).
    return TwoViews(
        kind="two_views", base_size=side, image_size=side, most_cut=2,
        patch_size=source.get("patch_size", "vision_config.patch_size", default=14),
        downsample_ratio=source.get(
            "downsample_ratio", "projector_config.downsample_ratio", default=2
        ),
        candidate_resolutions=tuple((high, wide) for wide, high in canvases),
    )  # fmt: skip


def minicpmv(source: Source) -> ImageRule:
    """MiniCPM-V 2.6 to 4.5: MiniCPMVImageProcessor, the model's own code."""
    sliced = source.flag("slice_mode", True)
    return AdaptiveSlices(
        kind="adaptive_slices",
        scale_resolution=source.get(
            "scale_resolution", "slice_config.scale_resolution", default=448
        ),
        max_slice_nums=source.get(
            "max_slice_nums", "slice_config.max_slice_nums", default=9, most=MAX_TILES
        )
        if sliced
        else 1,
        patch_size=source.get("patch_size", default=14),
        image_feature_size=source.get("image_feature_size", "query_num", default=64),
        # Of a file without the key the class's own word counts; without a file, the config's.
        use_image_id=source.flag(
            "use_image_id", source.settings is None and source.config.get("use_image_id") is True
        ),
    )


def internvl_chat(source: Source) -> ImageRule:
    """InternVL under its own code, whose config.json says how images are cut."""
    side = source.edge("force_image_size", "vision_config.image_size", default=448)
    patch = source.get("vision_config.patch_size", default=14)
    ratio = value_at(source.config, "downsample_ratio")
    if ratio not in (None, 0.5):
        raise UnsupportedError(f"downsample_ratio = {ratio}: only 0.5 is known")
    cut = source.config.get("dynamic_image_size", True) is True
    if cut and source.config.get("use_thumbnail", True) is not True:
        raise UnsupportedError("use_thumbnail = false: tiles without the whole image are not known")
    least, most = source.bounds(("min_dynamic_patch",), ("max_dynamic_patch",), (1, 12), MAX_TILES)
    return Tiles(
        kind="tiles",
        size=side,
        image_seq_length=(side // patch) ** 2 // 4,
        max_patches=most,
        min_patches=least,
        crop_to_patches=cut,
        separators=2,
    )


def phi3_v(source: Source) -> ImageRule:
    """Phi-3-vision and Phi-3.5-vision."""
    if source.settings is None:
        raise UnsupportedError(
            "phi3_v: num_crops, how many crops an image has at most, is stated in its "
            "preprocessor_config.json alone; put that file beside config.json"
        )
    return PaddedCrops(
        kind="padded_crops", num_crops=source.get("num_crops", default=1, most=MAX_TILES)
    )


def step3_vl(source: Source) -> ImageRule:
    """Step 3: Step3VLImageProcessor of vLLM, whose lengths are constants."""
    return SlidingWindows(kind="sliding_windows", size=728, patch_size=504, max_image_size=3024,
                          stride=56, whole=False, cut=source.flag("enable_patch", True))  # fmt: skip


def kimi_vl(source: Source) -> ImageRule:
    """Kimi-VL: KimiVLImageProcessor, the model's own code."""
    if source.settings is not None and not source.flag("pad_input", False):
        raise UnsupportedError(
            "pad_input = false: what Kimi-VL's processor cuts off an image is not known here"
        )
    return NativeResolution(
        kind="native_resolution",
        max_patches=source.get("max_patches", "in_token_limit", default=4096),
        patch_size=source.get("patch_size", default=14),
        merge_size=source.get("merge_size", "merge_kernel_size", default=2),
        max_height=512,
        refuses=True,
    )


def kimi_k25(source: Source) -> ImageRule:
    """Kimi K2.5: transformers' class, or the own code's, whose file has all of it in media_proc_cfg."""
    return kimi_media(source, 16384)


def kimi_k3(source: Source) -> ImageRule:
    """Kimi K3: its own code; begin, content and end around the places, and words that are not counted."""
    return kimi_media(source, 65536, separators=3)


def kimi_media(
    source: Source, most: int, separators: int = 0, *, each: str = ""
) -> NativeResolution:
    """most: patches of an image by default. each: the key that bounds a frame, before that of images."""
    for key in ("fixed_output_tokens", "media_proc_cfg.fixed_output_tokens"):
        if value_at(source.settings or {}, key) is not None:
            raise UnsupportedError(
                f"{source.place(key)}: images of a fixed length are not known here"
            )
    own = "media_proc_cfg."
    limits = (f"{own}{each}", each) if each else ()
    return NativeResolution(
        kind="native_resolution",
        max_patches=source.get(
            "max_patches", *limits, f"{own}in_patch_limit", "in_patch_limit", "in_token_limit",
            default=most,
        ),
        patch_size=source.get("patch_size", f"{own}patch_size", default=14),
        merge_size=source.get(
            "merge_size", f"{own}merge_kernel_size", "merge_kernel_size", default=2
        ),
        max_height=source.get(
            "size.max_height", f"{own}patch_limit_on_one_side", "patch_limit_on_one_side", default=512
        ),
        separators=separators,
    )  # fmt: skip


def constants(model_type: str, source: Source) -> str:
    """Whose constants the sizes are, where no file of the model's sets them; empty for other types."""
    if model_type == "step3_vl":
        return "sizes are constants of Step 3's processor, as vLLM has it: no file sets them"
    if model_type != "deepseek_vl_v2":
        return ""
    rule = deepseek_vl_v2(source)
    if not isinstance(rule, TwoViews) or rule.candidate_resolutions:
        return ""
    return (
        f"sizes are constants of vLLM's processor ({rule.base_size:,} pixels, tiles of {rule.image_size}): "
        "no file sets them, and the model's own code takes others with each call"
    )


# Words around an image's places that a tokenizer divides, by the type whose prompt has them.
IMAGE_WORDS = {
    "kimi_k3": "'image WIDTHxHEIGHT'", "emu3": "its size in words ('HEIGHT*WIDTH') and its ends"
}  # fmt: skip
# Types whose processor transformers has not; vLLM's class where vLLM has one of its own.
OWN_CODE = frozenset(
    {
        "deepseek_vl_v2",
        "minicpmv",
        "internvl_chat",
        "phi3_v",
        "step3_vl",
        "kimi_vl",
        "dots_ocr",
        "kimi_k3",
    }
)
