"""Hold the rules of video to transformers' own counts: ``python -m tests.media.videos``.

``smart_resize`` and ``get_num_of_video_patches`` of the video processors are taken out of transformers'
files and run on random videos; the classes around them need torchvision, these functions nothing.
Prints every difference. transformers 5.23.0, 2026-11-29: 1,500 videos, none differs.
"""

import ast
import importlib.util
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kvcalc.errors import UsageError
from kvcalc.media.source import Source
from kvcalc.media.videos import video_rule
from kvcalc.media.words import Image

# A model_type -> whose processor it has, and where smart_resize is.
FAMILIES = {
    "qwen2_vl": ("qwen2_vl", "video_processing_qwen2_vl"),
    "qwen3_vl": ("qwen3_vl", "video_processing_qwen3_vl"),
    "glm4v": ("glm4v", "image_processing_glm4v"),
}


def _tree(model: str, name: str) -> ast.Module:
    found = importlib.util.find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "models" / model / f"{name}.py"
    return ast.parse(path.read_text("utf-8"))


def _run(node: ast.stmt, names: dict[str, Any]) -> None:
    # Defaults are said by name; annotations need what is not there.
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef):
            each.returns = None
            each.decorator_list = []
            for arg in [*each.args.args, *each.args.kwonlyargs]:
                arg.annotation = None
    exec(compile(ast.Module([node], []), "transformers", "exec"), names)


def counter(model: str, resizes: str) -> Callable[[int, int, int], int]:
    """Patches of a video of (frames, height, width), by the processor's own code and class attributes."""
    names: dict[str, Any] = {"math": math}
    for node in _tree(model, resizes).body:
        if isinstance(node, ast.FunctionDef) and node.name == "smart_resize":
            _run(node, names)
    values: dict[str, Any] = {"cap_pixels_per_frame": None, "max_video_tokens": None}
    for node in _tree(model, f"video_processing_{model}").body:
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("VideoProcessor"):
            continue
        for item in node.body:
            if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
                try:
                    text = ast.unparse(item.value)
                    values[item.targets[0].id] = eval(text, {})
                except NameError:
                    continue
            if isinstance(item, ast.FunctionDef) and item.name == "get_num_of_video_patches":
                _run(item, names)
    count, processor = names["get_num_of_video_patches"], SimpleNamespace(**values)
    return lambda frames, height, width: int(count(processor, frames, height, width, {}))


def main() -> int:
    random.seed(1)
    num_asked = num_wrong = 0
    for model_type, (model, resizes) in FAMILIES.items():
        own, rule = counter(model, resizes), video_rule(model_type, Source({}, None))
        for _ in range(500):
            frames = random.randrange(2, 300)
            height, width = random.randrange(30, 3000), random.randrange(30, 3000)
            try:
                found = rule.placeholders(frames, Image(width, height)).tokens
            except UsageError:
                continue
            num_asked += 1
            expected = own(frames, height, width) // 4
            if expected != found:
                num_wrong += 1
                print(
                    f"{model_type}, {frames} frames of {width}x{height}: {expected}, kvcalc {found}"
                )
    print(f"{num_asked} videos, {num_wrong} differ")
    return num_wrong


if __name__ == "__main__":
    sys.exit(main())
