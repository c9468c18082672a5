"""The image's own grid within a least and a most number of patches, up to whole merges (Nemotron Omni)."""

import math
from typing import Literal

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class PatchRange:
    """A place for each ``merge_size`` x ``merge_size`` patches of the grid that is chosen.

    min_num_patches, max_num_patches: of an image. Separators: begin and end.

    Source: transformers 5.23.0, image_processing_nemotron_h_omni.py (get_patch_grid_size),
    processing_nemotron_h_omni.py (replace_image_token).
    """

    kind: Literal["patch_range"]
    patch_size: int
    merge_size: int
    min_num_patches: int
    max_num_patches: int
    separators: int = 2

    def placeholders(self, image: Image) -> Placeholders:
        rows, columns = self.grid(image)
        return Placeholders(rows * columns // self.merge_size**2, self.separators)

    def grid(self, image: Image) -> tuple[int, int]:
        """(rows, columns) of patches. Raises UsageError for a side of which none is left."""
        rows = round(image.height / self.patch_size + 0.5)
        columns = round(image.width / self.patch_size + 0.5)
        factor = min(math.sqrt(self.max_num_patches / (rows * columns)), 1.0)
        rows, columns = math.floor(factor * rows), math.floor(factor * columns)
        if rows * columns == 0:
            raise UsageError(
                f"an image of {image}: the model's processor leaves no patch of a side"
            )
        if self.max_num_patches > self.min_num_patches > rows * columns:
            factor = math.sqrt(self.min_num_patches / (rows * columns))
            rows, columns = math.ceil(factor * rows), math.ceil(factor * columns)
        rows = self._merged(rows, columns)
        return rows, self._merged(columns, rows)

    def _merged(self, side: int, other: int) -> int:
        """A side of whole merges: up where the patches allow it, else down."""
        over = side % self.merge_size
        if not over:
            return side
        up = side + self.merge_size - over
        return up if up * other <= self.max_num_patches else max(self.merge_size, side - over)

    def largest(self) -> Image:
        root = math.isqrt(self.max_num_patches)
        sides = range(max(1, root - 64), root + 1)
        return most(self, [Image((self.max_num_patches // n) * self.patch_size - 1,
                                 n * self.patch_size - 1) for n in sides])  # fmt: skip
