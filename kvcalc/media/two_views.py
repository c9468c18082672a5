"""The whole image and, beside it, its tiles as one picture with row ends (DeepSeek-VL2, DeepSeek-OCR)."""

import math
from dataclasses import replace
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.any_resolution import best_canvas
from kvcalc.media.tiles import grids, nearest_shape
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class TwoViews:
    """Places of the whole at ``base_size`` and of ``columns`` x ``rows`` tiles of ``image_size``.

    Fields:
        kind: two_views.
        base_size: side to which the whole image is padded.
        image_size: side of a tile.
        patch_size: pixels of a patch.
        downsample_ratio: patches along a side that make one place.
        candidate_resolutions: (height, width) of the canvases of tiles; none: grids of 2 to
            ``max_crops`` tiles near the image's shape, and no tiles of an image that fits in one.
        max_crops: most tiles of such a grid.
        row_ends: an embedding at each row's end of both views; one stands between them always.
        most_cut: a request of more images than these has each as a single tile; None: cut always.

    Source: vLLM 0.33.0, deepseek_vl2.py, deepseek_ocr.py and deepseek_ocr2.py
    (get_num_image_tokens), transformers_utils/processors of each (tokenize_with_images).
    """

    kind: Literal["two_views"]
    base_size: int
    image_size: int
    patch_size: int
    downsample_ratio: int
    candidate_resolutions: tuple[tuple[int, int], ...] = ()
    max_crops: int = 6
    row_ends: bool = True
    most_cut: int | None = None
    cut: bool = True

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        whole, tile = self._side(self.base_size), self._side(self.image_size)
        ends = int(self.row_ends)
        return Placeholders(
            whole * (whole + ends)
            + 1
            + rows * tile * (columns * tile + ends) * (columns * rows > 0)
        )

    def grid(self, image: Image) -> tuple[int, int]:
        """(columns, rows) of tiles; (0, 0) where the whole image stands alone."""
        size = self.image_size
        if self.candidate_resolutions:
            if not self.cut:
                return 1, 1
            height, width = best_canvas(image, self.candidate_resolutions)
            return width // size, height // size
        if not self.cut or max(image.width, image.height) <= size:
            return 0, 0
        return nearest_shape(image, size, 2, self.max_crops)

    def among(self, num_images: int) -> "TwoViews":
        """The rule for a request of so many images."""
        if self.most_cut is None or num_images <= self.most_cut:
            return self
        return replace(self, cut=False)

    def _side(self, pixels: int) -> int:
        return math.ceil(pixels // self.patch_size / self.downsample_ratio)

    def largest(self) -> Image:
        size = self.image_size
        if self.candidate_resolutions:
            return most(self, [Image(wide, high) for high, wide in self.candidate_resolutions])
        return most(self, [Image(columns * size, rows * size)
                           for columns, rows in grids(2, self.max_crops)])  # fmt: skip
