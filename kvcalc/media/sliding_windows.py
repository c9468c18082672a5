"""Windows over the image beside a small copy of the whole (Step 3, Step 3.7)."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders


@frozen(kw_only=True)
class SlidingWindows:
    """``(size // stride)^2`` places of the whole image and ``(patch_size // stride)^2`` of each window.

    Fields:
        kind: sliding_windows.
        size: side to which the whole image is resized.
        patch_size: side of a window, and to which each is resized.
        max_image_size: longest side; larger images are scaled down first.
        stride: pixels of a side that make one place.
        whole: Step 3.7 plans with whole numbers and counts a side of ``size`` as one that fits;
            Step 3 plans with fractions, and such a side does not fit.
        cut: whether there are windows (``enable_patch``).

    Separators: begin and end of the image and of each window, a row's end between rows of windows.
    Source: transformers 5.23.0, image_processing_step3p7.py (_plan_patches), processing_step3p7.py;
    vLLM 0.33.0, transformers_utils/processors/step3_vl.py (ImagePatcher, get_num_image_tokens).
    """

    kind: Literal["sliding_windows"]
    size: int
    patch_size: int
    max_image_size: int
    stride: int
    whole: bool
    cut: bool = True

    def placeholders(self, image: Image) -> Placeholders:
        columns, rows = self.grid(image)
        windows = columns * rows
        whole, one = (self.size // self.stride) ** 2, (self.patch_size // self.stride) ** 2
        return Placeholders(whole + windows * one, 2 + 2 * windows + max(0, rows - 1))

    def grid(self, image: Image) -> tuple[int, int]:
        """(columns, rows) of windows; (0, 0) where there are none."""
        width, height = self._scaled(image)
        long, short = max(width, height), min(width, height)
        if long < self.size or (self.whole and long == self.size):
            window = short if long / short > 1.5 else 0
        else:
            window = min(short, self.patch_size) if long / short > 4 else self.patch_size
        if window == 0 or not self.cut:
            return 0, 0
        return self._windows(width, window), self._windows(height, window)

    def _windows(self, side: int, window: int) -> int:
        """Windows along a side; a last one that is filled by a fifth or less is left out."""
        count = side // window
        over = (side % window > 0.2 * window) if self.whole else side / window - count > 0.2
        return max(1, count + over) if count else 1

    def _scaled(self, image: Image) -> tuple[int, int]:
        width, height = image.width, image.height
        if min(width, height) < 32 and max(width / height, height / width) > 4:
            width = height = max(width, height)
        if max(width, height) > self.max_image_size:
            scale = self.max_image_size / max(width, height)
            width, height = int(width * scale), int(height * scale)
        return width, height

    def largest(self) -> Image:
        """The square that vLLM profiles with (get_image_size_with_most_features). Strips of many times
        their height are cut into windows as small as they are high, and take more."""
        return Image(self.max_image_size, self.max_image_size)
