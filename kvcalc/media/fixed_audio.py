"""The same places for every sound (Gemma 3n)."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Placeholders


@frozen(kw_only=True)
class FixedAudio:
    """``audio_seq_length`` places whatever the length.

    Fields:
        kind: fixed_audio.
        audio_seq_length: places of a sound.
        separators: tokens around it.
        sampling_rate: samples a second.
        max_length: samples that the feature extractor keeps.

    Source: transformers 5.23.0, processing_gemma3n.py,
    feature_extraction_gemma3n.py.
    """

    kind: Literal["fixed_audio"]
    audio_seq_length: int
    separators: int = 0
    sampling_rate: int = 16_000
    max_length: int = 480_000

    def heard(self, num_samples: int) -> int:
        """The samples that are not cut off."""
        return min(num_samples, self.max_length)

    def placeholders(self, num_samples: int) -> Placeholders:
        return Placeholders(self.audio_seq_length, self.separators)
