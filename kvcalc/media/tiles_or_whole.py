"""Whole at its own resolution while it is small, in tiles with a thumbnail beyond (LFM2-VL)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.pixel_budget import within
from kvcalc.media.tiles import nearest_shape
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class TilesOrWhole:
    """A place for each ``downsample_factor`` squared patches of the image, or of its tiles.

    Fields:
        kind: tiles_or_whole.
        tile_size: pixels of a tile's side.
        min_tiles, max_tiles: of an image that is cut.
        min_image_tokens, max_image_tokens: places of an image that is not.
        encoder_patch_size: pixels of a patch.
        downsample_factor: patches along the side of a place.
        max_pixels_tolerance: how far beyond its most places an image is still taken whole.
        use_thumbnail: whether the whole image stands beside its tiles.
        do_image_splitting: whether images are cut at all.

    Separators: begin and end, the name of each tile, and of the thumbnail.
    Source: transformers 5.23.0, image_processing_lfm2_vl.py (resize_and_split, smart_resize),
    processing_lfm2_vl.py (_build_image_tokens).
    """

    kind: Literal["tiles_or_whole"]
    tile_size: int = 512
    min_tiles: int = 2
    max_tiles: int = 10
    min_image_tokens: int = 64
    max_image_tokens: int = 256
    encoder_patch_size: int = 16
    downsample_factor: int = 2
    max_pixels_tolerance: float = 2.0
    use_thumbnail: bool = True
    do_image_splitting: bool = True

    def placeholders(self, image: Image) -> Placeholders:
        whole = self._whole(image)
        if not self._cut(image):
            return Placeholders(whole, 2)
        columns, rows = nearest_shape(image, self.tile_size, self.min_tiles, self.max_tiles)
        tiles = columns * rows
        if tiles == 1:
            return Placeholders(whole, 2)
        side = math.ceil(self.tile_size // self.encoder_patch_size / self.downsample_factor)
        thumbnail = int(self.use_thumbnail)
        return Placeholders(tiles * side**2 + thumbnail * whole, 2 + tiles + thumbnail)

    @property
    def _factor(self) -> int:
        return self.encoder_patch_size * self.downsample_factor

    def _cut(self, image: Image) -> bool:
        if not self.do_image_splitting or self.min_tiles == self.max_tiles == 1:
            return False
        rows, columns = (
            max(self.encoder_patch_size, round(side / self._factor) * self._factor)
            for side in (image.height, image.width)
        )
        return rows * columns > self.max_image_tokens * self._factor**2 * self.max_pixels_tolerance

    def _whole(self, image: Image) -> int:
        """Places of the image that is not cut (or of the thumbnail)."""
        factor = self._factor
        rows, columns = (max(factor, round(side / factor) * factor)
                         for side in (image.height, image.width))  # fmt: skip
        budget = (self.min_image_tokens * factor**2, self.max_image_tokens * factor**2)
        rows, columns = within(budget, (image.height, image.width), (rows, columns), factor)
        places = (
            math.ceil(side // self.encoder_patch_size / self.downsample_factor)
            for side in (rows, columns)
        )
        return math.prod(places)

    def largest(self) -> Image:
        return most(self, [Image(columns * self.tile_size, self.max_tiles // columns * self.tile_size)
                           for columns in range(1, self.max_tiles + 1)])  # fmt: skip
