"""A few queries for each window of encoder frames (Granite Speech)."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Placeholders


@frozen(kw_only=True)
class QueryWindows:
    """``projector_window_size // projector_downsample_rate`` places for each window.

    Fields:
        kind: query_windows.
        hop_length: samples from frame to frame; the encoder sees every second frame.
        projector_window_size: encoder frames of a window.
        projector_downsample_rate: encoder frames of a place.
        sampling_rate: samples a second.

    Source: transformers 5.23.0, feature_extraction_granite_speech.py (_get_num_audio_features).
    """

    kind: Literal["query_windows"]
    hop_length: int = 160
    projector_window_size: int = 15
    projector_downsample_rate: int = 5
    sampling_rate: int = 16_000

    def placeholders(self, num_samples: int) -> Placeholders:
        encoded = (num_samples // self.hop_length + 1) // 2
        windows = -(-encoded // self.projector_window_size)
        return Placeholders(
            windows * (self.projector_window_size // self.projector_downsample_rate)
        )
