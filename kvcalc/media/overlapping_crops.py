"""Crops that overlap by a margin over the canvas nearest to the image, beside the whole (Molmo 2)."""

import math
from itertools import product
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class OverlappingCrops:
    """A place for each ``pooling`` patches of the canvas, and of the whole image at ``size``.

    size: pixels of a crop's side. margins: patches that crops share at both sides together. pooling:
    (rows, columns) of patches that become one place. row_ends, low_row_ends: a token behind each row
    of the canvas, and of the whole image.

    Source: transformers 5.23.0, image_processing_molmo2.py (select_tiling, compute_crop_geometry,
    get_image_grid_and_crops), processing_molmo2.py (replace_image_token).
    """

    kind: Literal["overlapping_crops"]
    size: int
    patch_size: int
    max_crops: int
    margins: int
    pooling: tuple[int, int]
    row_ends: bool = True
    low_row_ends: bool = True

    def placeholders(self, image: Image) -> Placeholders:
        rows, columns = (
            -(-side // pooled)
            for side, pooled in zip(self._canvas(self._tiling(image)), self.pooling, strict=True)
        )
        low_rows, low_columns = (-(-self._patches // pooled) for pooled in self.pooling)
        separators = 4 + rows * self.row_ends + low_rows * self.low_row_ends
        return Placeholders(rows * columns + low_rows * low_columns, separators)

    @property
    def _patches(self) -> int:
        """Patches along a crop's side."""
        return self.size // self.patch_size

    def _canvas(self, tiling: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of patches of so many crops."""
        window = self._patches - self.margins
        return tiling[0] * window + self.margins, tiling[1] * window + self.margins

    def _tiling(self, image: Image) -> tuple[int, int]:
        """(rows, columns) of crops: the least that holds the image, or the one that shrinks it least."""
        window = (self._patches - self.margins) * self.patch_size
        margin = self.margins * self.patch_size
        sides = image.height - margin, image.width - margin

        def scale(tiling: tuple[int, int]) -> float:
            return min(
                tiles * window / side if side else math.inf
                for tiles, side in zip(tiling, sides, strict=True)
            )

        tilings = self._tilings()
        holding = [tiling for tiling in tilings if scale(tiling) >= 1]
        return min(holding, key=scale) if holding else max(tilings, key=scale)

    def _tilings(self) -> list[tuple[int, int]]:
        """All there are, in the library's order: of equals the first is taken."""
        counts = range(1, self.max_crops + 1)
        found = [
            (high, wide) for high, wide in product(counts, counts) if high * wide <= self.max_crops
        ]
        return sorted(found, key=lambda pair: (pair[0] * pair[1], pair[0]))

    def largest(self) -> Image:
        patch = self.patch_size
        canvases = [self._canvas(tiling) for tiling in self._tilings()]
        return most(self, [Image(wide * patch, high * patch) for high, wide in canvases])
