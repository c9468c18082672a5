"""Scaled down to a longest side, then a place per merged patch and a token at each row's end."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders


@frozen(kw_only=True)
class LongestEdge:
    """A place for each merged patch of the image; never scaled up.

    row_ends: whether each row ends with a token, the last with one that ends the image.
    merge_after: LightOnOCR rounds the sides up to patches and only then merges, down; Pixtral and
    Mistral 3 round up to merged patches at once.
    Source: transformers 5.23.0, processing_pixtral.py and image_processing_pixtral.py
    (get_resize_output_image_size), processing_lighton_ocr.py.
    """

    kind: Literal["longest_edge"]
    longest_edge: int
    patch_size: int
    spatial_merge_size: int = 1
    row_ends: bool = True
    merge_after: bool = False

    def placeholders(self, image: Image) -> Placeholders:
        height, width = image.height, image.width
        ratio = max(height / self.longest_edge, width / self.longest_edge)
        if ratio > 1:
            height, width = math.floor(height / ratio), math.floor(width / ratio)
        merged = self.patch_size * self.spatial_merge_size
        step = self.patch_size if self.merge_after else merged
        rows, columns = (((side - 1) // step + 1) * step // merged for side in (height, width))
        return Placeholders(rows * columns, rows if self.row_ends else 0)

    def largest(self) -> Image:
        return Image(self.longest_edge, self.longest_edge)
