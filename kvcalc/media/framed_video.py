"""Every frame an image of one size: so many places each, whatever the video's resolution."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders


@frozen(kw_only=True)
class FramedVideo:
    """frame_tokens: places of a frame; separators: around each. end: places after the last frame.

    Source: transformers 5.23.0, processing_llava_onevision.py (pooled by two, rounded up, and a row
    end), processing_llava_next_video.py (a quarter of the patches), processing_video_llava.py,
    processing_internvl.py: ``replace_video_token`` of each.
    """

    kind: Literal["framed_video"]
    frame_tokens: int
    side: int
    separators: int = 0
    end: int = 0

    def placeholders(self, num_frames: int, image: Image) -> Placeholders:
        """The places of a video; the size of its frames does not matter."""
        return Placeholders(num_frames * self.frame_tokens + self.end, num_frames * self.separators)

    def largest(self, num_frames: int) -> Image:
        """Any size has as many."""
        return Image(self.side, self.side)
