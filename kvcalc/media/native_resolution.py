"""Native resolution under a number of patches and a longest side, padded to whole merges (Kimi)."""

import math
from collections.abc import Iterator
from typing import Literal

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


@frozen(kw_only=True)
class NativeResolution:
    """A place for each ``merge_size`` x ``merge_size`` patches; never scaled up.

    max_patches: patches of the whole image. max_height: patches along one side.
    refuses: a side that is longer than that is refused, not scaled (Kimi-VL's own code, where the
    table of positions has as many rows).
    Source: transformers 5.23.0, image_processing_kimi_k25.py (navit_resize);
    image_processing_kimi_vl.py of Kimi-VL's own code (rescale, with pad_input).
    """

    kind: Literal["native_resolution"]
    max_patches: int
    patch_size: int
    merge_size: int
    max_height: int
    separators: int = 0
    refuses: bool = False

    def placeholders(self, image: Image) -> Placeholders:
        """The places of one image. Raises UsageError for a side that the processor refuses."""
        count = max(1.0, image.height // self.patch_size) * max(1.0, image.width // self.patch_size)
        side = self.max_height * self.patch_size
        scale = min(
            1.0, math.sqrt(self.max_patches / count), side / image.height, side / image.width
        )
        factor = self.merge_size * self.patch_size
        if self.refuses:
            self._hold(image, min(1.0, math.sqrt(self.max_patches / count)), factor)
        rows, columns = (
            -(-min(max(1, int(length * scale)), side) // factor)
            for length in (image.height, image.width)
        )
        return Placeholders(rows * columns, self.separators)

    def _hold(self, image: Image, scale: float, factor: int) -> None:
        longest = -(-int(max(image.width, image.height) * scale) // factor) * self.merge_size
        if longest >= self.max_height:
            raise UsageError(
                f"an image of {image}: the model's processor refuses sides of {self.max_height} patches "
                f"and more, and this has {longest:,}"
            )

    def largest(self) -> Image:
        return most(self, [*self._candidates()] or [Image(self.patch_size, self.patch_size)])

    def _candidates(self) -> Iterator[Image]:
        """Sides of whole patches less a pixel, with about as many patches as there may be: they are counted
        rounded down and padded up, and a long strip gains most by it. Of more patches than there may be
        only few gain, the fewer the longer the short side is: 3 in as many, and a fiftieth.

        The same as vLLM's search of all pairs (models/kimi_k3/common/mm_preprocess.py) finds.
        """
        limit, side, patch = self.max_patches, self.max_height, self.patch_size
        for short in range(1, side + 1):
            least = max(short, limit // short - 1)
            above = (limit * (short + 3) + short * limit // 50) // short**2 + 1
            for long in range(min(side, least), min(side, above) + 1):
                width, height = (min((n + 1) * patch - 1, side * patch) for n in (long, short))
                if not self.refuses or self._within(width, height):
                    yield Image(width, height)

    def _within(self, width: int, height: int) -> bool:
        """Whether an image is not refused."""
        try:
            self.placeholders(Image(width, height))
        except UsageError:
            return False
        return True
