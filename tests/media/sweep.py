"""Hold the rules of ``kvcalc.media`` to the processors of transformers: ``python -m tests.media.sweep``.

Asks the functions that transformers' own processors count with for a few hundred random sizes, prints
every difference, and writes ``measured.json``, which the tests replay: for each family the settings
and the tokens of some sizes. Needs transformers (extra ``hf``); the counting functions touch no pixel,
so a stand-in takes torchvision's place where it is not installed.
"""

import json
import random
import sys
from collections import namedtuple
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from kvcalc.media.families import image_rule
from kvcalc.media.source import Source
from kvcalc.media.words import Image

TABLE = Path(__file__).with_name("measured.json")
SIZES = (
    (224, 224),
    (336, 336),
    (512, 512),
    (640, 480),
    (1024, 768),
    (1920, 1080),
    (768, 2048),
    (4000, 3000),
)
Count = Callable[[int, int], int]


class _StandIn(ModuleType):
    """A module that has whatever is asked of it, so that what imports it can be imported."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def library(model: str, module: str) -> Any:
    """A module of transformers' models."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        for name in ("", ".transforms", ".transforms.v2", ".transforms.v2.functional", ".io"):
            sys.modules.setdefault(f"torchvision{name}", _StandIn(f"torchvision{name}"))
    return import_module(f"transformers.models.{model}.{module}")


def smart(model: str, patch: int, merge: int, least: int, most: int, *, pil: bool = True) -> Count:
    """The Qwen kind: ``smart_resize`` and the patches of what comes out."""
    resize = library(model, f"image_processing_{'pil_' if pil else ''}{model}").smart_resize

    def count(width: int, height: int) -> int:
        options: dict[str, Any] = {"factor": patch * merge, "min_pixels": least, "max_pixels": most}
        if model == "glm4v":
            rows, columns = resize(
                num_frames=2, height=height, width=width, temporal_factor=2, **options
            )
        else:
            rows, columns = resize(height, width, **options)
        return (rows // patch) * (columns // patch) // merge**2

    return count


def pixtral(edge: int, patch: int, merge: int, *, after: bool = False) -> Count:
    numbers = import_module("numpy")
    resize = library("pixtral", "image_processing_pixtral").get_resize_output_image_size
    step = patch if after else patch * merge

    def count(width: int, height: int) -> int:
        blank = numbers.broadcast_to(numbers.uint8(0), (height, width, 3))
        rows, columns = resize(
            blank, size=(edge, edge), patch_size=(step, step), input_data_format="channels_last"
        )
        return (rows // (patch * merge)) * (columns // (patch * merge))

    return count


def got(tile: int, tokens: int, most: int) -> Count:
    grid = library("got_ocr2", "image_processing_pil_got_ocr2").get_optimal_tiled_canvas

    def count(width: int, height: int) -> int:
        columns, rows = grid((height, width), (tile, tile), 1, most)
        tiles = columns * rows
        return tokens * (1 + tiles if tiles > 1 else 1)

    return count


def cohere(tile: int, tokens: int, most: int) -> Count:
    grid = library("cohere2_vision", "image_processing_cohere2_vision").get_optimal_tiled_canvas

    def count(width: int, height: int) -> int:
        columns, rows = grid((height, width), (tile, tile), 1, most)
        tiles = columns * rows
        return tokens * (1 + tiles if tiles > 1 else 1)

    return count


def idefics(edge: int, tile: int, tokens: int) -> Count:
    kind = library("idefics3", "image_processing_pil_idefics3").Idefics3ImageProcessorPil
    state = SimpleNamespace(
        do_image_splitting=True, max_image_size={"longest_edge": tile}, size={"longest_edge": edge}
    )
    return lambda width, height: (
        tokens * max(1, kind.get_number_of_image_patches(state, height, width, {})[0])
    )


def kimi() -> Count:
    resize = library("kimi_k25", "image_processing_kimi_k25").navit_resize

    def count(width: int, height: int) -> int:
        _, (rows, columns) = resize(
            height,
            width,
            patch_size=14,
            merge_kernel_size=2,
            max_patches=16384,
            max_size_per_side=512,
        )
        return (rows // 28) * (columns // 28)

    return count


def gemma4(budget: int) -> Count:
    resize = library("gemma4", "image_processing_pil_gemma4").get_aspect_ratio_preserving_size

    def count(width: int, height: int) -> int:
        rows, columns = resize(
            height, width, patch_size=16, max_patches=budget * 9, pooling_kernel_size=3
        )
        return (rows // 16) * (columns // 16) // 9

    return count


def llama4(*, largest: bool) -> Count:
    torch = import_module("torch")
    module = library("llama4", "image_processing_llama4")
    canvases = torch.tensor(
        module.find_supported_resolutions(
            max_num_chunks=16, patch_size=namedtuple("Side", "height width")(336, 336)
        )
    )

    def count(width: int, height: int) -> int:
        rows, columns = module.get_best_fit((height, width), canvases, resize_to_max_canvas=largest)
        tiles = int(rows // 336 * (columns // 336))
        return 144 * (1 + tiles if tiles > 1 else 1)

    return count


def lfm2() -> Count:
    kind = library("lfm2_vl", "image_processing_lfm2_vl").Lfm2VlImageProcessor
    state = SimpleNamespace(
        _target_ratios=lambda low, high: kind._target_ratios.__wrapped__(None, low, high)
    )

    def count(width: int, height: int) -> int:
        large = kind._is_image_too_large(
            state,
            height,
            width,
            max_image_tokens=256,
            encoder_patch_size=16,
            downsample_factor=2,
            max_pixels_tolerance=2.0,
        )
        columns, rows = kind.smart_resize(
            state,
            height,
            width,
            downsample_factor=2,
            min_image_tokens=64,
            max_image_tokens=256,
            encoder_patch_size=16,
        )
        whole = (rows // 32) * (columns // 32)
        if not large:
            return whole
        *_, tiles = kind._get_grid_layout(
            state, height, width, min_tiles=2, max_tiles=10, tile_size=512
        )
        return tiles * 256 + whole

    return count


def perception() -> Count:
    kind = library("perception_lm", "image_processing_perception_lm").PerceptionLMImageProcessor
    state = kind.__new__(kind)
    state.max_num_tiles = 36

    def count(width: int, height: int) -> int:
        grid = state._fit_image_to_canvas(img_width=width, img_height=height, tile_size=448)
        grid = grid or state._find_closest_aspect_ratio(
            img_width=width, img_height=height, tile_size=448
        )
        return 256 * (grid[0] * grid[1] + 1)

    return count


def onevision() -> Count:
    module = library("llava_onevision", "processing_llava_onevision")
    kind = module.LlavaOnevisionProcessor
    state = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=GRID),
        num_image_tokens=729,
        vision_aspect_ratio="anyres_max_9",
    )
    state._get_unpadded_features = lambda *sizes: kind._get_unpadded_features(state, *sizes)
    return lambda width, height: kind._get_number_of_features(state, height, width, 384, 384) - 0


def llava_next() -> Count:
    kind = library("llava_next", "processing_llava_next").LlavaNextProcessor
    state = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=NEXT),
        patch_size=14,
        num_additional_image_tokens=0,
    )
    state._get_unpadded_features = lambda *sizes: kind._get_unpadded_features(state, *sizes)
    return lambda width, height: kind._get_number_of_features(state, height, width, 336, 336)


def minicpm() -> Count:
    kind = library("minicpmv4_6", "image_processing_pil_minicpmv4_6").MiniCPMV4_6ImageProcessorPil
    state = kind.__new__(kind)
    options = {"scale_resolution": 448, "patch_size": 14, "downsample_mode": "16x"}

    def count(width: int, height: int) -> int:
        grid = state.get_sliced_grid((height, width), 9, 448)
        rows, columns = state.find_best_resize(
            (height, width), allow_upscale=grid is None, **options
        )
        whole = (rows // 14) * (columns // 14) // 16
        if grid is None:
            return whole
        rows, columns = state.get_refine_size((height, width), grid, allow_upscale=True, **options)
        return whole + (rows // 14) * (columns // 14) // 16

    return count


GRID = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
NEXT = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_QWEN3 = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16}
_PIXELS = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}


def families() -> dict[str, tuple[str, dict[str, Any], Count]]:
    """name -> (model_type, settings, how the library counts)."""
    return {
        "qwen2-vl, class defaults": ("qwen2_vl", {}, smart("qwen2_vl", 14, 2, 3136, 1003520)),
        "qwen2-vl, published": ("qwen2_vl", _PIXELS, smart("qwen2_vl", 14, 2, 3136, 12845056)),
        "qwen3-vl": ("qwen3_vl", _QWEN3, smart("qwen2_vl", 16, 2, 65536, 16777216)),
        "glm-4v": ("glm4v", {}, smart("glm4v", 14, 2, 112 * 112, 28 * 28 * 15000)),
        "paddleocr-vl": ("paddleocr_vl", {}, smart("paddleocr_vl", 14, 2, 147456, 2359296)),
        "video-llama-3": ("video_llama_3", {}, smart("video_llama_3", 14, 1, 3136, 1003520)),
        "pixtral": ("pixtral", {}, pixtral(1024, 16, 1)),
        "mistral-small-3.1": ("mistral3", {}, pixtral(1540, 14, 2)),
        "lighton-ocr": ("lighton_ocr", {}, pixtral(1540, 14, 2, after=True)),
        "internvl": ("internvl", {}, got(448, 256, 12)),
        "aya-vision": ("aya_vision", {}, got(364, 169, 12)),
        "command-a-vision": ("cohere2_vision", {}, cohere(512, 256, 12)),
        "idefics3-8b": ("idefics3", {"image_seq_len": 169}, idefics(1456, 364, 169)),
        "smolvlm": (
            "smolvlm",
            {
                "size": {"longest_edge": 2048},
                "max_image_size": {"longest_edge": 512},
                "image_seq_len": 64,
            },
            idefics(2048, 512, 64),
        ),
        "kimi-k2.5": ("kimi_k25", {}, kimi()),
        "gemma-4": ("gemma4", {}, gemma4(280)),
        "gemma-4, 1120": ("gemma4", {"max_soft_tokens": 1120}, gemma4(1120)),
        "llama-4": ("llama4", {}, llama4(largest=False)),
        "llama-4, largest canvas": ("llama4", {"resize_to_max_canvas": True}, llama4(largest=True)),
        "lfm2-vl": ("lfm2_vl", {}, lfm2()),
        "perception-lm": ("perception_lm", {}, perception()),
        "llava-onevision": (
            "llava_onevision",
            {"image_grid_pinpoints": GRID, "size": 384},
            onevision(),
        ),
        "llava-next": (
            "llava_next",
            {"image_grid_pinpoints": NEXT, "crop_size": 336},
            llava_next(),
        ),
        "minicpm-v-4.6": ("minicpmv4_6", {}, minicpm()),
    }


def main(number: int = 400) -> int:
    """Compare, print the differences, write the table."""
    transformers = import_module("transformers")
    draw = random.Random(20261129)
    drawn = [(draw.randint(28, 4096), draw.randint(28, 4096)) for _ in range(number)]
    drawn += [(draw.randint(28, 300), draw.randint(28, 300)) for _ in range(number // 4)]
    table: dict[str, Any] = {"transformers": transformers.__version__, "families": {}}
    wrong = 0
    for name, (model_type, settings, count) in families().items():
        rule = image_rule(model_type, Source(CONFIGS.get(model_type, {}), settings))
        largest, most = rule.largest(), 0
        for width, height in (*SIZES, *drawn):
            try:
                measured = int(count(width, height))
            except ValueError:
                continue
            most = max(most, measured)
            if measured != rule.placeholders(Image(width, height)).tokens:
                wrong += 1
                print(
                    f"{name} {width}x{height}: library {measured}, "
                    f"{rule.placeholders(Image(width, height))}"
                )
        if most > rule.placeholders(largest).tokens:
            print(
                f"{name}: {largest} is not the largest: {rule.placeholders(largest).tokens} < {most}"
            )
            wrong += 1
        rows = {
            f"{width}x{height}": int(count(width, height)) for width, height in (*SIZES, *drawn[:4])
        }
        table["families"][name] = {"model_type": model_type, "settings": settings, "tokens": rows}
        print(f"{name}: {len(drawn) + len(SIZES)} sizes")
    TABLE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return wrong


CONFIGS: dict[str, dict[str, Any]] = {"llava_onevision": {"vision_config": {"patch_size": 14}}}

if __name__ == "__main__":
    sys.exit(1 if main() else 0)
