"""The whole image and slices near its shape, each at its own resolution (MiniCPM-V)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class AdaptiveSlices:
    """A place for each ``image_token_divisor`` patches of the image and of its slices.

    Fields:
        kind: adaptive_slices.
        scale_resolution: side of the square whose area a slice has about.
        max_slice_nums: most slices.
        patch_size: pixels of a patch.
        downsample_mode: 16x pools sixteen patches to a place, 4x four.
        use_image_id: whether the prompt numbers its images.
        image_feature_size: places of the image and of each slice alike, where a resampler makes them
            (MiniCPM-V 2.6 to 4.5); 0: by their patches.

    Separators: begin and end of the image and of each slice, a line break between the rows of slices
    and, with ``use_image_id``, the image's number between two tokens (one digit: the first ten).
    Source: transformers 5.23.0, image_processing_minicpmv4_6.py (get_sliced_grid, find_best_resize,
    get_refine_size), processing_minicpmv4_6.py (replace_image_token); image_processing_minicpmv.py of
    MiniCPM-V 2.6's own code (get_sliced_grid, get_slice_image_placeholder).
    """

    kind: Literal["adaptive_slices"]
    scale_resolution: int = 448
    max_slice_nums: int = 9
    patch_size: int = 14
    downsample_mode: Literal["16x", "4x"] = "16x"
    use_image_id: bool = True
    image_feature_size: int = 0

    def placeholders(self, image: Image) -> Placeholders:
        grid = self.grid(image)
        whole = self._places(image.height, image.width, enlarge=grid is None)
        around = 5 if self.use_image_id else 2
        if grid is None:
            return Placeholders(whole, around)
        rows, columns = grid
        height = max(round(image.height / rows) * rows, rows) / rows
        width = max(round(image.width / columns) * columns, columns) / columns
        slices = rows * columns
        one = self._places(height, width, enlarge=True)
        return Placeholders(whole + slices * one, around + 2 * slices + rows - 1)

    def grid(self, image: Image) -> tuple[int, int] | None:
        """(rows, columns) of slices; None where the image is not sliced."""
        shape = math.log(image.width / image.height)
        ratio = image.width * image.height / self.scale_resolution**2
        wanted = min(math.ceil(ratio), self.max_slice_nums)
        if wanted <= 1:
            return None
        best, least = (1, 1), float("inf")
        for slices in (wanted - 1, wanted, wanted + 1):
            if slices == 1 or slices > self.max_slice_nums:
                continue
            for rows in (n for n in range(1, slices + 1) if slices % n == 0):
                columns = slices // rows
                error = abs(shape - math.log(columns / rows))
                if error < least or (error == least and rows > best[0]):
                    best, least = (rows, columns), error
        return best

    def _places(self, height: float, width: float, enlarge: bool) -> int:
        """Places of an image or slice at the resolution that is chosen for it."""
        if self.image_feature_size:
            return self.image_feature_size
        if enlarge or height * width > self.scale_resolution**2:
            shape = width / height
            height = int(self.scale_resolution / math.sqrt(shape))
            width = int(height * shape)
        merge = 2 if self.downsample_mode == "4x" else 4
        step = self.patch_size * merge
        sides = (max(round(side / step) * step, step) // self.patch_size
                 for side in (height, width))  # fmt: skip
        return math.prod(sides) // merge**2

    def largest(self) -> Image:
        side = self.scale_resolution
        return most(self, [Image(columns * side, self.max_slice_nums // columns * side)
                           for columns in range(1, self.max_slice_nums + 1)])  # fmt: skip
