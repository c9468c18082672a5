"""The grid nearest to the image's shape under a number of places; never scaled up (Muse Glimmer)."""

import math
from itertools import product
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class CappedGrid:
    """A place for each ``merge_size`` x ``merge_size`` patches of the resized image.

    max_image_tokens: most places. Of the whole numbers around the ideal height and width those are taken
    whose shape is nearest the image's.

    Source: transformers 5.23.0, image_processing_muse_glimmer.py (smart_resize).
    """

    kind: Literal["capped_grid"]
    patch_size: int
    merge_size: int
    max_image_tokens: int
    separators: int = 2

    def placeholders(self, image: Image) -> Placeholders:
        rows, columns = self.grid(image)
        return Placeholders(rows * columns, self.separators)

    def grid(self, image: Image) -> tuple[int, int]:
        """(rows, columns) of places."""
        factor = self.patch_size * self.merge_size
        high, wide = image.height / factor, image.width / factor
        shape = wide / high
        if high * wide > self.max_image_tokens:
            high = (self.max_image_tokens / shape) ** 0.5
            wide = high * shape
        # The library goes through a set, and the first of equals stands: its order is the hash's.
        near = set(
            product([math.floor(high), math.ceil(high)], [math.floor(wide), math.ceil(wide)])
        )
        grids = [
            (rows, columns)
            for rows, columns in list(near)
            if rows >= 1 and columns >= 1 and rows * columns <= self.max_image_tokens
        ] or [(max(1, round(high)), max(1, round(wide)))]
        return min(grids, key=lambda grid: abs(grid[0] / grid[1] - image.height / image.width))

    def largest(self) -> Image:
        factor = self.patch_size * self.merge_size
        root = math.isqrt(self.max_image_tokens)
        # The squarest first, which stands among equals.
        sides = range(root, max(0, root - 65), -1)
        return most(self, [Image(self.max_image_tokens // n * factor, n * factor) for n in sides])
