"""Native resolution under a number of patches and a longest side, padded to whole merges (Kimi)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class NativeResolution:
    """A place for each ``merge_size`` x ``merge_size`` patches; never scaled up.

    max_patches: patches of the whole image. max_height: patches along one side.
    Source: transformers 5.23.0, image_processing_kimi_k25.py (navit_resize).
    """

    kind: Literal["native_resolution"]
    max_patches: int
    patch_size: int
    merge_size: int
    max_height: int
    separators: int = 0

    def placeholders(self, image: Image) -> Placeholders:
        count = max(1.0, image.height // self.patch_size) * max(1.0, image.width // self.patch_size)
        side = self.max_height * self.patch_size
        scale = min(
            1.0, math.sqrt(self.max_patches / count), side / image.height, side / image.width
        )
        factor = self.merge_size * self.patch_size
        rows, columns = (
            -(-min(max(1, int(length * scale)), side) // factor)
            for length in (image.height, image.width)
        )
        return Placeholders(rows * columns, self.separators)

    def largest(self) -> Image:
        # Sides are rounded up to whole merges after the patches are counted: a side of k merges and a
        # patch less one pixel counts k and takes k + 1, and a long strip gains most by it.
        merge, patch = self.merge_size, self.patch_size
        strips = []
        for rows in range(1, self.max_height // merge):
            columns = min(self.max_patches // (merge**2 * rows), self.max_height // merge - 1)
            strips.append([max(1, merge * side) * patch + patch - 1 for side in (columns, rows)])
        return most(
            self, [Image(width, height) for width, height in strips] or [Image(patch, patch)]
        )
