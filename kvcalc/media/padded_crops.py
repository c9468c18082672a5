"""Crops of an image whose shorter side is padded to whole crops (Phi-3-vision, Phi-3.5-vision)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most

# Pixels of a crop's side, and places that it keeps along a side: constants of the model's code.
_SIDE, _PLACES = 336, 12


@frozen(kw_only=True)
class PaddedCrops:
    """The whole image at 12 x 12 places and its crops at as many each, with row ends and one between.

    num_crops: most crops. The longer side has as many as this allows, the shorter is padded up.
    Row ends and what divides the whole from its crops are embeddings, so they count as tokens.

    Source: image_processing_phi3_v.py of Phi-3-vision's and Phi-3.5-vision's own code
    (calc_hd_transform_size, calc_num_image_tokens_from_image_size).
    """

    kind: Literal["padded_crops"]
    num_crops: int

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        whole = _PLACES * _PLACES
        return Placeholders((columns * rows + 1) * whole + 1 + (rows + 1) * _PLACES)

    def grid(self, image: Image) -> tuple[int, int]:
        """(columns, rows) of crops."""
        long, short = max(image.width, image.height), min(image.width, image.height)
        shape = long / short
        across = 1
        while across * math.ceil(across / shape) <= self.num_crops:
            across += 1
        across -= 1
        down = math.ceil(int(across * _SIDE / shape) / _SIDE)
        return (across, down) if image.width >= image.height else (down, across)

    def largest(self) -> Image:
        sizes = [Image(columns * _SIDE, rows * _SIDE)
                 for columns in range(1, self.num_crops + 1)
                 for rows in {1, self.num_crops // columns}]  # fmt: skip
        return most(self, sizes)
