"""The canvas of up to ``max_patches`` tiles that scales the image least (Llama 4)."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.tiles import grids
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class CanvasTiles:
    """``image_seq_length`` places for each tile of the canvas, and for the whole image beside several.

    resize_to_max_canvas: take the largest canvas that still holds the image, not the smallest.
    Separators: begin, image and end, one between the tiles of a row and one after each row.

    Source: transformers 5.23.0, image_processing_llama4.py (get_best_fit), processing_llama4.py
    (_prompt_split_image). The library compares scales in float32; so does this.
    """

    kind: Literal["canvas_tiles"]
    size: int
    image_seq_length: int
    max_patches: int
    resize_to_max_canvas: bool = False

    def grid(self, image: Image) -> tuple[int, int]:
        """(columns, rows) of the canvas."""
        scales = [
            (_single(min(_single(columns * self.size / image.width),
                         _single(rows * self.size / image.height))), (columns, rows))
            for columns, rows in grids(1, self.max_patches)
        ]  # fmt: skip
        enough = [pair for pair in scales if pair[0] >= 1]
        if enough and not self.resize_to_max_canvas:
            chosen = min(scale for scale, _ in enough)
        else:
            chosen = max(scale for scale, _ in enough or scales)
        equal = [grid for scale, grid in scales if scale == chosen]
        return min(equal, key=lambda grid: grid[0] * grid[1])

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        tiles = columns * rows
        if tiles == 1:
            return Placeholders(self.image_seq_length, 3)
        return Placeholders(self.image_seq_length * (tiles + 1), 3 + rows * columns)

    def largest(self) -> Image:
        sizes = [Image(columns * self.size, rows * self.size)
                 for columns, rows in grids(1, self.max_patches)]  # fmt: skip
        return most(self, sizes[::-1])


def _single(value: float) -> float:
    """The nearest number of single precision, in which torch compares."""
    from struct import pack, unpack

    single: float = unpack("f", pack("f", value))[0]
    return single
