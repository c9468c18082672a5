"""Sides rounded to whole merged patches, within a least and a most number of pixels (Qwen2-VL)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most, too_narrow


def within(
    budget: tuple[int, int], sides: tuple[int, int], rounded: tuple[int, int], factor: int,
    frames: int = 1,
) -> tuple[int, int]:  # fmt: skip
    """The rounded (height, width), scaled to a budget of (least, most) pixels where they leave it.

    sides: before they were rounded to whole ``factor``; what is too large is rounded down, what is too
    small up.
    """
    (least, most_pixels), (height, width), (rows, columns) = budget, sides, rounded
    pixels = frames * rows * columns
    if pixels > most_pixels:
        beta = math.sqrt((frames * height * width) / most_pixels)
        rows = max(factor, math.floor(height / beta / factor) * factor)
        columns = max(factor, math.floor(width / beta / factor) * factor)
    elif pixels < least:
        beta = math.sqrt(least / (frames * height * width))
        rows = math.ceil(height * beta / factor) * factor
        columns = math.ceil(width * beta / factor) * factor
    return rows, columns


@frozen(kw_only=True)
class PixelBudget:
    """A place for each ``merge_size`` x ``merge_size`` patches of the resized image.

    shortest_edge, longest_edge: despite the names the least and the most *pixels* of the image.
    frames: GLM counts a still image as this many frames against the budget; 1 elsewhere.
    grow_first: GLM scales a side below one merged patch up before all else; "proportional" rounds
    as GLM does (down), "rounded" as PaddleOCR does; None rounds the side alone, to 0 if it is short.
    row_ends: HunYuan's tower ends each row with an embedding, and has one at either end of the image.

    Source: transformers 5.23.0, image_processing_qwen2_vl.py, image_processing_glm4v.py,
    image_processing_paddleocr_vl.py (smart_resize of each), processing_hunyuan_vl.py
    (replace_image_token).
    """

    kind: Literal["pixel_budget"]
    shortest_edge: int
    longest_edge: int
    patch_size: int
    merge_size: int
    separators: int = 0
    frames: int = 1
    grow_first: str | None = None
    row_ends: bool = False

    def placeholders(self, image: Image) -> Placeholders:
        height, width = self.resized(image)
        rows, columns = height // self.patch_size, width // self.patch_size
        ends = rows // self.merge_size + 2 if self.row_ends else 0
        return Placeholders(rows * columns // self.merge_size**2 + ends, self.separators)

    def resized(self, image: Image) -> tuple[int, int]:
        """(height, width) of what the tower sees. Raises UsageError for sides of over 200:1."""
        factor = self.patch_size * self.merge_size
        height, width = self._grown(image, factor)
        too_narrow(Image(width, height))
        rows, columns = round(height / factor) * factor, round(width / factor) * factor
        budget = (self.shortest_edge, self.longest_edge)
        return within(budget, (height, width), (rows, columns), factor, self.frames)

    def _grown(self, image: Image, factor: int) -> tuple[int, int]:
        height, width = image.height, image.width
        if self.grow_first == "proportional" and min(height, width) < factor:
            scale = max(factor / height, factor / width)
            return int(height * scale), int(width * scale)
        if self.grow_first == "rounded":
            if height < factor:
                height, width = factor, round((width * factor) / height)
            if width < factor:
                height, width = round((height * factor) / width), factor
        return height, width

    def largest(self) -> Image:
        factor = self.patch_size * self.merge_size
        cells = self.longest_edge // (factor * factor * self.frames)
        sides = [n for n in range(1, math.isqrt(cells) + 1) if cells // n <= 200 * n] or [1]
        if self.row_ends:
            return most(self, [Image(n * factor, cells // n * factor) for n in sides])
        best = max(sides, key=lambda n: (n * (cells // n), n))
        return most(self, [Image(max(1, cells // best) * factor, best * factor)])
