"""Hold rules of ``kvcalc.media`` to whole processors: ``python -m tests.media.processors FOLDER``.

Where ``sweep`` asks single functions of transformers, this asks processors: transformers' by
``_get_num_multimodal_tokens`` or by a whole call on a blank picture, vLLM's classes for models whose code
is not in transformers, and the models' own code, of which FOLDER holds ``image_processing_minicpmv.py`` of
MiniCPM-V 2.6, ``image_processing_kimi_vl.py`` of Kimi-VL-A3B and ``image_processing_phi3_v.py`` of
Phi-3.5-vision. Prints every difference and writes ``processors.json``, which the tests replay. Needs
transformers, torchvision, pillow and vLLM's wheel as tests/engines/vllm_stand_in.py describes.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kvcalc.errors import UsageError
from kvcalc.media.families import image_rule
from kvcalc.media.sliding_windows import SlidingWindows
from kvcalc.media.source import Source
from kvcalc.media.words import Image
from tests.media.sweep import SIZES

TABLE = Path(__file__).with_name("processors.json")
# (width, height) -> (tokens, separators; None where the processor does not say them)
Count = Callable[[int, int], tuple[int, int | None]]
Case = tuple[str, str, dict[str, Any], dict[str, Any] | None, Count]


def processor(name: str, image: str | None = None, **settings: Any) -> Count:
    """transformers' own count, without a tokenizer. image: the class of its image processor."""
    library = import_module("transformers")
    made = getattr(library, f"{name}Processor")
    self = made.__new__(made)
    self.image_processor = getattr(library, image or f"{name}ImageProcessor")(**settings)
    self.tokenizer = SimpleNamespace(init_kwargs={})
    self.cat_extra_token = True

    def count(width: int, height: int) -> tuple[int, int | None]:
        return int(self._get_num_multimodal_tokens([(height, width)])["num_image_tokens"][0]), None

    return count


def _picture(width: int, height: int) -> Any:
    return import_module("PIL.Image").new("RGB", (width, height))


def step3p7() -> Count:
    """A whole call, and the text that stands in the prompt for its outcome."""
    library = import_module("transformers")
    images = library.Step3p7ImageProcessor()
    self = library.Step3p7Processor.__new__(library.Step3p7Processor)
    self.image_feature_placeholder, self.patch_feature_placeholder = "i" * 169, "i" * 81

    def count(width: int, height: int) -> tuple[int, int | None]:
        words = self.replace_image_token(images(_picture(width, height), return_tensors="pt"), 0)
        tokens = sum(
            part.count("i")
            for part in words.split("<")
            if ">" in part
            for part in [part.split(">")[1]]
        )
        return tokens, words.count("<")

    return count


def nemotron() -> Count:
    images = import_module("transformers").NemotronH_Omni_Reasoning_V3ImageProcessor()

    def count(width: int, height: int) -> tuple[int, int | None]:
        rows, columns = images(_picture(width, height), return_tensors="pt")["image_grid_hw"][0]
        return int(rows * columns) // 4, None

    return count


def step3() -> Count:
    module = import_module("vllm.transformers_utils.processors.step3_vl")
    images = module.Step3VLImageProcessor()

    def count(width: int, height: int) -> tuple[int, int | None]:
        windows, newlines = images.patcher.get_num_patches(width, height)
        total = images.get_num_image_tokens(width, height)
        beside = 2 + 2 * windows + newlines
        return total - beside, beside

    return count


def info(module: str, name: str) -> Count:
    """A class of vLLM's that counts for the scheduler, and that asks nothing of itself."""
    made = getattr(import_module(f"vllm.model_executor.models.{module}"), name)
    self = made.__new__(made)
    return lambda width, height: (
        self.get_num_image_tokens(image_width=width, image_height=height), None
    )  # fmt: skip


def deepseek_vl2(canvases: list[list[int]], cropping: bool) -> Count:
    made = import_module("vllm.model_executor.models.deepseek_vl2").DeepseekVL2ProcessingInfo
    kind = import_module("vllm.transformers_utils.processors.deepseek_vl2").DeepseekVLV2Processor
    hub = SimpleNamespace(
        candidate_resolutions=canvases, image_size=384, patch_size=14, downsample_ratio=2
    )
    hub.select_best_resolution = lambda size: kind.select_best_resolution(hub, size)
    self = made.__new__(made)
    self.get_hf_processor = lambda: hub
    return lambda width, height: (
        self.get_num_image_tokens(image_width=width, image_height=height, cropping=cropping), None
    )  # fmt: skip


def internvl(most: int) -> Count:
    module = import_module("vllm.transformers_utils.processors.internvl")
    ratios = module.get_internvl_target_ratios(1, most)

    def count(width: int, height: int) -> tuple[int, int | None]:
        tiles, _, _ = module.calculate_internvl_targets(
            orig_width=width, orig_height=height, target_ratios=ratios, image_size=448,
            use_thumbnail=True,
        )  # fmt: skip
        return 256 * tiles, None

    return count


def minicpmv(**settings: Any) -> Count:
    images = import_module("image_processing_minicpmv").MiniCPMVImageProcessor(**settings)
    images.tokenizer = SimpleNamespace(
        slice_start="<", slice_end="<", im_start="<", im_end="<", unk_token="i", im_id_start="<",
        im_id_end="<",
    )  # fmt: skip

    def count(width: int, height: int) -> tuple[int, int | None]:
        words = images.get_slice_image_placeholder((width, height))
        return words.count("i"), len(words) - words.count("i")

    return count


def phi3v(num_crops: int) -> Count:
    made = import_module("image_processing_phi3_v").Phi3VImageProcessor(num_crops=num_crops)
    return lambda width, height: (made.calc_num_image_tokens_from_image_size(width, height), None)


def kimi_vl(limit: int) -> Count:
    """The model's own rescaling of a blank picture, of which the patches are counted."""
    made = import_module("image_processing_kimi_vl").KimiVLImageProcessor(
        in_token_limit=limit, pad_input=True
    )

    def count(width: int, height: int) -> tuple[int, int | None]:
        picture = made.rescale(_picture(width, height))
        return (picture.width // 14) * (picture.height // 14) // 4, None

    return count


# arXiv 2412.10302, section 2: all (m x 384, n x 384) of at most nine tiles.
CANVASES = [
    [384 * wide, 384 * high] for wide in range(1, 10) for high in range(1, 10) if wide * high <= 9
]
_PUBLISHED = {"min_pixels": 3136, "max_pixels": 11289600, "patch_size": 14, "merge_size": 2}


def cases() -> Iterator[Case]:
    """(name, model_type, config, settings, how the library counts)."""
    yield "step-3.7", "step3p7", {}, {}, step3p7()
    yield "step-3", "step3_vl", {}, {}, step3()
    yield "muse-glimmer", "muse_glimmer", {}, {}, processor("MuseGlimmer")
    few = {"max_image_tokens": 1024}
    yield "muse-glimmer, 1024", "muse_glimmer", {}, few, processor("MuseGlimmer", **few)
    yield "hunyuan-vl", "hunyuan_vl", {}, {}, processor("HunYuanVL")
    yield "nemotron-omni", "nemotron_h_omni", {}, {}, nemotron()
    qwen = "Qwen2VLImageProcessor"
    yield "exaone-4.5", "exaone4_5", {}, {}, processor("Exaone4_5_", qwen)
    yield "lfm3-vl", "lfm3_vl", {}, {}, processor("Lfm3Vl", qwen)
    yield "cosmos3-edge", "cosmos3_edge", {}, {}, processor("Cosmos3Edge")
    yield "dots.ocr", "dots_ocr", {}, _PUBLISHED, processor("Qwen2VL", **_PUBLISHED)
    ocr = {"architectures": ["DeepseekOCRForCausalLM"]}
    yield (
        "deepseek-ocr",
        "deepseek_vl_v2",
        ocr,
        {},
        info("deepseek_ocr", "DeepseekOCRProcessingInfo"),
    )
    ocr = {"architectures": ["DeepseekOCR2ForCausalLM"]}
    yield (
        "deepseek-ocr-2", "deepseek_vl_v2", ocr, {}, info("deepseek_ocr2", "DeepseekOCR2ProcessingInfo")
    )  # fmt: skip
    canvases = {"candidate_resolutions": CANVASES}
    yield "deepseek-vl2", "deepseek_vl_v2", canvases, {}, deepseek_vl2(CANVASES, True)
    yield "internvl, own code", "internvl_chat", {}, {}, internvl(12)
    yield "internvl, six tiles", "internvl_chat", {"max_dynamic_patch": 6}, {}, internvl(6)
    yield "minicpm-v", "minicpmv", {}, {}, minicpmv()
    more = {"use_image_id": True, "max_slice_nums": 36}
    yield "minicpm-v, 36 slices", "minicpmv", {}, more, minicpmv(**more)
    for limit in (4096, 16384):
        settings = {"in_token_limit": limit, "pad_input": True}
        yield f"kimi-vl, {limit}", "kimi_vl", {}, settings, kimi_vl(limit)
    for crops in (4, 16):
        settings = {"num_crops": crops}
        yield f"phi-3.5-vision, {crops}", "phi3_v", {}, settings, phi3v(crops)


def _drawn(draw: random.Random, number: int) -> list[tuple[int, int]]:
    return [
        *((draw.randint(28, 4096), draw.randint(28, 4096)) for _ in range(number)),
        *((draw.randint(28, 800), draw.randint(28, 800)) for _ in range(number)),
        *((draw.randint(1, 60), draw.randint(60, 2000)) for _ in range(number // 4)),
    ]


def compare(case: Case, sizes: list[tuple[int, int]]) -> tuple[dict[str, Any], int]:
    """The row of a case, and how many sizes differ."""
    name, model_type, config, settings, count = case
    rule, wrong, most, kept = image_rule(model_type, Source(config, settings)), 0, 0, {}
    for index, (width, height) in enumerate(sizes):
        try:
            tokens, separators = count(width, height)
        except (ValueError, ZeroDivisionError, RuntimeError) as refused:
            print(f"{name} {width}x{height}: refused, {refused!r}"[:160])
            continue
        try:
            mine = rule.placeholders(Image(width, height))
        except UsageError as refused:
            print(f"{name} {width}x{height}: library {tokens}, refused here: {refused}")
            wrong += 1
            continue
        most = max(most, tokens)
        if mine.tokens != tokens or separators not in (None, mine.separators):
            wrong += 1
            print(f"{name} {width}x{height}: library {tokens} {separators}, {mine}")
        if index < len(SIZES) + 4:
            kept[f"{width}x{height}"] = [tokens, separators]
    largest = rule.placeholders(rule.largest()).tokens
    if most > largest and not isinstance(rule, SlidingWindows):
        print(f"{name}: {rule.largest()} is not the largest: {largest} < {most}")
        wrong += 1
    return {"model_type": model_type, "config": config, "settings": settings, "rows": kept}, wrong


def main(folder: str, number: int = 300) -> int:
    """Compare, print the differences, write the table."""
    sys.path.insert(0, folder)
    from tests.engines import vllm_stand_in

    vllm_stand_in._MISSING.discard("torchvision")
    vllm_stand_in.prepare((9, 0))
    sizes = [*SIZES, *_drawn(random.Random(20261130), number)]
    table: dict[str, Any] = {
        "releases": {name: version(name) for name in ("transformers", "torchvision")},
        "date": "2026-11-30",
        "families": {},
    }
    wrong = 0
    for case in cases():
        whole = case[0].startswith(
            ("step-3.7", "nemotron", "kimi")
        )  # Pictures are made and cut: fewer of them.
        table["families"][case[0]], differing = compare(case, sizes[:60] if whole else sizes)
        print(f"{case[0]}: {differing} differ")
        wrong += differing
    TABLE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1]) else 0)
