"""An image as words of a codebook, a row's end behind each row (Emu3)."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.pixel_budget import PixelBudget
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class CodedGrid:
    """A word for each square of ``factor`` pixels of the resized image, and one for the end of each row.

    min_pixels, max_pixels: of the resized image.

    Source: transformers 5.23.0, image_processing_emu3.py (smart_resize), processing_emu3.py
    (_get_num_multimodal_tokens).
    """

    kind: Literal["coded_grid"]
    min_pixels: int
    max_pixels: int
    factor: int

    def placeholders(self, image: Image) -> Placeholders:
        """The places of one image. Raises UsageError for sides of over 200:1."""
        height, width = self._budget().resized(image)
        return Placeholders(height // self.factor * (width // self.factor + 1))

    def _budget(self) -> PixelBudget:
        return PixelBudget(
            kind="pixel_budget", shortest_edge=self.min_pixels, longest_edge=self.max_pixels,
            patch_size=self.factor, merge_size=1,
        )  # fmt: skip

    def largest(self) -> Image:
        # High images have more rows, and more ends of them.
        cells, factor = self.max_pixels // self.factor**2, self.factor
        sides = (
            n for n in range(1, cells + 1) if cells // n <= 200 * n and n <= 200 * (cells // n)
        )
        return most(self, [Image(n * factor, cells // n * factor) for n in sides])
