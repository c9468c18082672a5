"""Shape kept within a budget of pooled patches (Gemma 4)."""

import math
from typing import Literal

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class PooledBudget:
    """A place for each ``pooling_kernel_size`` squared patches, at most ``max_soft_tokens``.

    Both sides are rounded down, so the budget is seldom filled: of 280, 256 to 270 are used.
    Source: transformers 5.23.0, image_processing_gemma4.py (get_aspect_ratio_preserving_size).
    """

    kind: Literal["pooled_budget"]
    patch_size: int
    pooling_kernel_size: int
    max_soft_tokens: int
    separators: int = 2

    def placeholders(self, image: Image) -> Placeholders:
        step = self.pooling_kernel_size * self.patch_size
        patches = self.max_soft_tokens * self.pooling_kernel_size**2
        factor = math.sqrt(patches * self.patch_size**2 / (image.height * image.width))
        rows = math.floor(factor * image.height / step)
        columns = math.floor(factor * image.width / step)
        if not rows and not columns:
            raise UsageError(f"an image of {image}: the model's processor makes nothing of it")
        if not rows:
            rows, columns = 1, min(math.floor(image.width / image.height), self.max_soft_tokens)
        elif not columns:
            rows, columns = min(math.floor(image.height / image.width), self.max_soft_tokens), 1
        return Placeholders(rows * columns, self.separators)

    def largest(self) -> Image:
        step = self.pooling_kernel_size * self.patch_size
        sizes = [Image(self.max_soft_tokens // rows * step, rows * step)
                 for rows in range(1, math.isqrt(self.max_soft_tokens) + 1)]  # fmt: skip
        return most(self, sizes[::-1])
