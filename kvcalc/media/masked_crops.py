"""Crops of a padded canvas, of which the padding's places are masked out (Phi-4-multimodal)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.tiles import nearest_shape
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class MaskedCrops:
    """The whole image at 16 x 16 places with its row ends, and the crops' places that hold image.

    Fields:
        kind: masked_crops.
        size: pixels of a crop's side.
        patch_size: pixels of a patch; the mask keeps every second one.
        dynamic_hd: most crops.

    Row ends and what divides the whole from its crops are embeddings, so they count as tokens.
    Source: transformers 5.23.0, image_processing_phi4_multimodal.py (dynamic_preprocess,
    _preprocess).
    """

    kind: Literal["masked_crops"]
    size: int
    patch_size: int
    dynamic_hd: int

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        width, height = columns * self.size, rows * self.size
        ratio_width, ratio_height = width / image.width, height / image.height
        if ratio_width < ratio_height:
            padded = (0, height - int(image.height * ratio_width))
        else:
            padded = (width - int(image.width * ratio_height), 0)
        side = self.size // self.patch_size
        across = _kept(columns, side, padded[0] // self.patch_size)
        down = _kept(rows, side, padded[1] // self.patch_size)
        return Placeholders(16 * 16 + 16 + 1 + down * across + down)

    def grid(self, image: Image) -> tuple[int, int]:
        """(columns, rows) of crops."""
        columns, rows = math.ceil(image.width / self.size), math.ceil(image.height / self.size)
        if columns * rows > self.dynamic_hd:
            return nearest_shape(image, self.size, 1, self.dynamic_hd)
        return columns, rows

    def largest(self) -> Image:
        sizes = [Image(columns * self.size, self.dynamic_hd // columns * self.size)
                 for columns in range(1, self.dynamic_hd + 1)]  # fmt: skip
        return most(self, sizes)


def _kept(crops: int, side: int, masked: int) -> int:
    """Every second row of each crop that the mask, cut off at the end, leaves."""
    kept = crops * side - masked
    return sum(1 for crop in range(crops) for row in range(0, side, 2) if crop * side + row < kept)
