"""Every image scaled to one longest side, up or down, and cut into tiles (Idefics3, SmolVLM)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most

# MAX_IMAGE_SIZE of transformers' image_processing_idefics3.py.
_MAX_IMAGE_SIZE = 4096


@frozen(kw_only=True)
class ScaledTiles:
    """``image_seq_len`` places for each tile and for the whole image.

    longest_edge: what the longer side becomes. max_image_size: the side of a tile.
    Small images are scaled up, so a square thumbnail costs more than a wide photograph.
    Separators: begin and end of each tile, its row and column, an end of each row; the two line
    breaks before the whole image as one token, as the Llama-3 and SmolLM2 vocabularies have it.

    Source: transformers 5.23.0, image_processing_idefics3.py (get_number_of_image_patches),
    processing_idefics3.py; the same in smolvlm.
    """

    kind: Literal["scaled_tiles"]
    longest_edge: int
    max_image_size: int
    image_seq_len: int
    do_image_splitting: bool = True

    def placeholders(self, image: Image) -> Placeholders:
        rows, columns = self.grid(image) if self.do_image_splitting else (0, 0)
        tokens = self.image_seq_len * (1 + rows * columns)
        return Placeholders(tokens, 3 + (2 * columns + 1) * rows)

    def grid(self, image: Image) -> tuple[int, int]:
        """(rows, columns) of tiles; (0, 0) where the image is one tile."""
        height, width = self._scaled(image)
        tile = self.max_image_size
        rows, columns = math.ceil(height / tile), math.ceil(width / tile)
        return (rows, columns) if rows > 1 or columns > 1 else (0, 0)

    def _scaled(self, image: Image) -> tuple[int, int]:
        shape = image.width / image.height
        if image.width >= image.height:
            width, height = self.longest_edge, int(self.longest_edge / shape)
            height += height % 2
        else:
            width, height = int(self.longest_edge * shape), self.longest_edge
            width += width % 2
        height, width = max(height, 1), max(width, 1)
        shape = width / height
        if width >= height and width > _MAX_IMAGE_SIZE:
            height, width = int(_MAX_IMAGE_SIZE / shape), _MAX_IMAGE_SIZE
        elif height > width and height > _MAX_IMAGE_SIZE:
            height, width = _MAX_IMAGE_SIZE, int(_MAX_IMAGE_SIZE * shape)
        return max(height, 1), max(width, 1)

    def largest(self) -> Image:
        return most(self, [Image(self.longest_edge, self.longest_edge)])
