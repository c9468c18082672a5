"""Every frame, or one of each few, seen as an image is."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, ImageRule, Placeholders


@frozen(kw_only=True)
class FrameByFrame:
    """frame: what is made of one. group: frames that share one frame's places (Kimi K2.5 pools over
    them). separators: around each group. most_frames: that the processor takes of a video, evenly.

    Source: transformers 5.23.0, processing_gemma4.py and video_processing_gemma4.py (num_frames of
    sample_frames), processing_kimi_k25.py and video_processing_kimi_k25.py (chunks).
    """

    kind: Literal["frame_by_frame"]
    frame: ImageRule
    group: int = 1
    separators: int = 0
    most_frames: int | None = None

    def taken(self, num_frames: int) -> int:
        """The frames that are seen."""
        return num_frames if self.most_frames is None else min(num_frames, self.most_frames)

    def placeholders(self, num_frames: int, image: Image) -> Placeholders:
        """The places of a video. Raises UsageError for sides that the processor refuses."""
        groups = -(-self.taken(num_frames) // self.group)
        return Placeholders(
            groups * self.frame.placeholders(image).tokens, groups * self.separators
        )

    def largest(self, num_frames: int) -> Image:
        """A frame with the most places."""
        return self.frame.largest()
