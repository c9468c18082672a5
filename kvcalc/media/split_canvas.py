"""The best canvas of a list, in squares of the tower's own size (Aria)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.any_resolution import best_canvas
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class SplitCanvas:
    """``image_seq_length`` places for each square of the canvas; no copy of the whole beside them.

    Fields:
        kind: split_canvas.
        max_image_size: pixels of a square's side.
        image_seq_length: places of a square: the queries of the projector.
        split_image: whether images are cut at all.
        split_resolutions: (height, width) of the canvases.

    Source: transformers 5.23.0, image_processing_aria.py (get_number_of_image_patches),
    processing_aria.py (size_conversion).
    """

    kind: Literal["split_canvas"]
    max_image_size: int
    image_seq_length: int
    split_image: bool
    split_resolutions: tuple[tuple[int, int], ...]

    def placeholders(self, image: Image) -> Placeholders:
        if not self.split_image:
            return Placeholders(self.image_seq_length)
        height, width = best_canvas(image, self.split_resolutions)
        squares = math.ceil(height / self.max_image_size) * math.ceil(width / self.max_image_size)
        return Placeholders(squares * self.image_seq_length)

    def largest(self) -> Image:
        return most(self, [Image(width, height) for height, width in self.split_resolutions])
