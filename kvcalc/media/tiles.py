"""Cut into equal tiles on a grid near the image's shape, with a small copy of the whole beside them."""

from collections.abc import Callable
from functools import cache
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most

# (columns, rows)
Grid = tuple[int, int]


@cache
def grids(least: int, most: int) -> tuple[Grid, ...]:
    """All grids of so many tiles, few tiles first, narrow ones first among equals."""
    found = [
        (columns, rows)
        for columns in range(1, most + 1)
        for rows in range(1, most + 1)
        if least <= columns * rows <= most
    ]
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))


def nearest_shape(image: Image, tile: int, least: int, most: int) -> Grid:
    """The grid whose shape is nearest; of equals the larger where the image fills half of it."""
    shape, area = image.width / image.height, image.width * image.height
    best, best_difference = (1, 1), float("inf")
    for grid in grids(least, most):
        difference = abs(shape - grid[0] / grid[1])
        if difference < best_difference:
            best, best_difference = grid, difference
        elif difference == best_difference and area > 0.5 * tile * tile * grid[0] * grid[1]:
            best = grid
    return best


def least_scaling(image: Image, tile: int, least: int, most: int) -> Grid:
    """The grid that scales the image up least; where none holds it, the one that shrinks it least."""
    scales = [
        (min(grid[0] * tile / image.width, grid[1] * tile / image.height), grid)
        for grid in grids(1, most)
    ]
    enough = [pair for pair in scales if pair[0] >= 1]
    if enough:
        return min(enough, key=lambda pair: pair[0])[1]
    return max(scales, key=lambda pair: pair[0])[1]


def covering(image: Image, tile: int, least: int, most: int) -> Grid:
    """The fewest tiles of which nine tenths are image, else those that are covered best (Ovis2).

    The library's grids are (columns, rows) where it cuts and (rows, columns) where it measures; so
    here too the two are exchanged between the measure and the answer.
    """
    measured = [(_covered(image, grid, tile), grid) for grid in grids(1, most)]
    enough = [pair for pair in measured if pair[0] > 0.9]
    if enough:
        return min(enough, key=lambda pair: (pair[1][0] * pair[1][1], -pair[0]))[1]
    return min(measured, key=lambda pair: (-pair[0], pair[1][0] * pair[1][1]))[1]


def _covered(image: Image, grid: Grid, tile: int) -> float:
    rows, columns = grid
    row, column = image.height // rows, image.width // columns
    total = 0.0
    for y in range(rows):
        height = image.height - y * row if y == rows - 1 else row
        for x in range(columns):
            width = image.width - x * column if x == columns - 1 else column
            longer: float = max(width, height)
            shorter: float = min(width, height)
            if longer > tile:
                shorter, longer = shorter / longer * tile, tile
            total += longer * shorter
    return total / (image.width * image.height)


Choice = Literal["nearest_shape", "least_scaling", "covering"]
_CHOICES: dict[Choice, Callable[[Image, int, int, int], Grid]] = {
    "nearest_shape": nearest_shape, "least_scaling": least_scaling, "covering": covering,
}  # fmt: skip


@frozen(kw_only=True)
class Tiles:
    """``image_seq_length`` places for each tile, and for the whole image where there are several.

    separators: tokens around an image; per_tile: tokens beside each tile of a grid, alone: beside
    the tile of an image that is not cut. per_row: one more at each row's end of a grid.

    Source: transformers 5.23.0, image_processing_got_ocr2.py (get_optimal_tiled_canvas; InternVL and
    Aya use it), image_processing_cohere2_vision.py, image_processing_ovis2.py
    (get_min_tile_covering_grid).
    """

    kind: Literal["tiles"]
    size: int
    image_seq_length: int
    max_patches: int
    min_patches: int = 1
    crop_to_patches: bool = True
    choice: Choice = "nearest_shape"
    separators: int = 0
    per_tile: int = 0
    per_row: int = 0

    def grid(self, image: Image) -> Grid:
        """(columns, rows) of tiles."""
        if not self.crop_to_patches or self.max_patches <= 1:
            return 1, 1
        return _CHOICES[self.choice](image, self.size, self.min_patches, self.max_patches)

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        tiles = columns * rows if columns * rows > 1 else 0
        separators = self.separators + self.per_tile * tiles + self.per_row * (rows if tiles else 0)
        return Placeholders(self.image_seq_length * (1 + tiles), separators)

    def largest(self) -> Image:
        candidates = [Image(grid[0] * self.size, grid[1] * self.size)
                      for grid in grids(self.min_patches, self.max_patches)]  # fmt: skip
        return most(self, candidates[::-1])
