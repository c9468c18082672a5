"""Frames resized to a budget of pixels, of each frame (Qwen2-VL) or of all together (Qwen3-VL, GLM-4V)."""

import math
from typing import Literal

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.media.pixel_budget import PixelBudget
from kvcalc.media.words import Image, Placeholders, too_narrow


@frozen(kw_only=True)
class BudgetedVideo:
    """A place for each ``merge_size`` x ``merge_size`` patches of ``temporal_patch_size`` frames.

    shortest_edge, longest_edge: despite the names the least and the most *pixels*, of a frame or, where
    ``whole``, of all frames. separators: tokens around each group of frames.

    Source: transformers 5.23.0, video_processing_qwen2_vl.py, video_processing_qwen3_vl.py and
    video_processing_glm4v.py (smart_resize and get_num_of_video_patches of each), without
    ``cap_pixels_per_frame``, which is off by default. A last frame without others is repeated.
    """

    kind: Literal["budgeted_video"]
    shortest_edge: int
    longest_edge: int
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    whole: bool = False
    separators: int = 0

    def placeholders(self, num_frames: int, image: Image) -> Placeholders:
        """The places of a video. Raises UsageError for sides or lengths that the processor refuses."""
        groups = -(-num_frames // self.temporal_patch_size)
        height, width = self.resized(num_frames, image)
        patches = groups * (height // self.patch_size) * (width // self.patch_size)
        return Placeholders(patches // self.merge_size**2, self.separators * groups)

    def resized(self, num_frames: int, image: Image) -> tuple[int, int]:
        """(height, width) of what the tower sees."""
        if not self.whole:
            return self._of_a_frame().resized(image)
        step = self.temporal_patch_size
        if num_frames < step:
            raise UsageError(f"a video of {num_frames} frame: the processor takes {step} or more")
        factor = self.patch_size * self.merge_size
        height, width = image.height, image.width
        if min(height, width) < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        too_narrow(Image(width, height))
        rows, columns = round(height / factor) * factor, round(width / factor) * factor
        # The rounded count decides whether it is scaled, the frames themselves by how much.
        pixels = round(num_frames / step) * step * rows * columns
        if self.shortest_edge <= pixels <= self.longest_edge:
            return rows, columns
        over = pixels > self.longest_edge
        edge = self.longest_edge if over else self.shortest_edge
        beta = math.sqrt(num_frames * height * width / edge)
        if over:
            return (max(factor, math.floor(height / beta / factor) * factor),
                    max(factor, math.floor(width / beta / factor) * factor))  # fmt: skip
        beta = math.sqrt(edge / (num_frames * height * width))
        return (math.ceil(height * beta / factor) * factor,
                math.ceil(width * beta / factor) * factor)  # fmt: skip

    def largest(self, num_frames: int) -> Image:
        """A frame with the most places."""
        if not self.whole:
            return self._of_a_frame().largest()
        factor, step = self.patch_size * self.merge_size, self.temporal_patch_size
        kept = max(step, round(num_frames / step) * step)
        cells = max(1, self.longest_edge // (factor * factor * kept))
        sides = [n for n in range(1, math.isqrt(cells) + 1) if cells // n <= 200 * n] or [1]
        whole = [Image(cells // n * factor, n * factor) for n in sides]
        # A side is never less than one merged patch: of many frames a narrow one may have more.
        narrow = [Image(n * factor, factor) for n in range(1, 201)]
        return max(
            [*whole, *narrow],
            key=lambda image: self.placeholders(max(step, num_frames), image).tokens,
        )

    def _of_a_frame(self) -> PixelBudget:
        return PixelBudget(
            kind="pixel_budget", shortest_edge=self.shortest_edge, longest_edge=self.longest_edge,
            patch_size=self.patch_size, merge_size=self.merge_size,
        )  # fmt: skip
