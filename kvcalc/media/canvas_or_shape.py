"""The canvas of tiles that holds the image largest, else the nearest shape (Perception LM)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class CanvasOrShape:
    """``image_seq_length`` places for each tile and for a small copy of the whole.

    Fields:
        kind: canvas_or_shape.
        size: pixels of a tile's side.
        image_seq_length: places of a tile after pooling.
        max_patches: most tiles.

    An image that fits a canvas gets the canvas on which it is largest, so a small one gets as many
    tiles as there are.
    Source: transformers 5.23.0, image_processing_perception_lm.py (_fit_image_to_canvas,
    _find_closest_aspect_ratio), processing_perception_lm.py.
    """

    kind: Literal["canvas_or_shape"]
    size: int
    image_seq_length: int
    max_patches: int

    def grid(self, image: Image) -> tuple[int, int]:
        """(columns, rows) of tiles."""
        return self._holding(image) or self._nearest(image)

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        return Placeholders((columns * rows + 1) * self.image_seq_length)

    def _arrangements(self) -> dict[float, list[tuple[int, int]]]:
        """Grids by their shape, many tiles first, as the library lists them."""
        found: dict[float, list[tuple[int, int]]] = {}
        for tiles in range(self.max_patches, 0, -1):
            for columns in (n for n in range(1, tiles + 1) if tiles % n == 0):
                found.setdefault(columns / (tiles // columns), []).append(
                    (columns, tiles // columns)
                )
        return found

    def _holding(self, image: Image) -> tuple[int, int] | None:
        shape = image.width / image.height
        best: tuple[int, int] | None = None
        largest: tuple[float, float] = (0, 0)
        for grid in (grid for grids in self._arrangements().values() for grid in grids):
            width, height = grid[0] * self.size, grid[1] * self.size
            if width < image.width or height < image.height:
                continue
            factor = min(width / image.width, height / image.height)
            if shape > 1.0:
                scaled = (factor * image.width, float(math.floor(factor * image.width / shape)))
            else:
                scaled = (float(math.floor(factor * image.height * shape)), factor * image.height)
            side = 0 if shape < 1.0 else 1
            if best is None or scaled[side] >= largest[side]:
                best, largest = grid, scaled
        return best

    def _nearest(self, image: Image) -> tuple[int, int]:
        shape, found = image.width / image.height, self._arrangements()
        if shape >= 1:
            near = min((key for key in found if key <= shape), key=lambda key: abs(key - shape))
            return max(found[near], key=lambda grid: grid[0])
        near = min((key for key in found if key > shape), key=lambda key: abs(1 / key - 1 / shape))
        return max(found[near], key=lambda grid: grid[1])

    def largest(self) -> Image:
        return most(self, [Image(self.size, self.size),
                           *(Image(columns * self.size, rows * self.size)
                             for grids in self._arrangements().values()
                             for columns, rows in grids)])  # fmt: skip
