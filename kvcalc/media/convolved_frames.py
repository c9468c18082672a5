"""A sound as frames of a spectrogram, thinned by the tower's convolutions (Whisper's kind)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Placeholders


@frozen(kw_only=True)
class ConvolvedFrames:
    """Frames of ``hop_length`` samples, in windows, through convolutions, grouped.

    Fields:
        kind: convolved_frames.
        sampling_rate: samples a second.
        hop_length: samples from frame to frame.
        frame_length: samples that a frame needs; None where the sound is padded for whole frames.
        pad_left: samples put before the sound.
        window_frames: frames that the tower sees at once; None for all.
        pad_windows: whether the last window is filled up with silence.
        max_frames: where the sound is cut off.
        convolutions: (kernel, stride, padding) of each in turn.
        group: places are formed of so many, rounded up.
        audio_seq_length: most places.
        separators: tokens around it.

    Source: transformers 5.23.0, the functions that count audio tokens in processing_qwen2_audio.py,
    processing_qwen3_omni_moe.py (windows of 100 frames), processing_glmasr.py, processing_gemma4.py,
    feature_extraction_phi4_multimodal.py, and Voxtral's windows padded to 30 s.
    """

    kind: Literal["convolved_frames"]
    sampling_rate: int = 16_000
    hop_length: int = 160
    frame_length: int | None = None
    pad_left: int = 0
    window_frames: int | None = None
    pad_windows: bool = False
    max_frames: int | None = None
    convolutions: tuple[tuple[int, int, int], ...] = ()
    group: int = 1
    audio_seq_length: int | None = None
    separators: int = 0

    def placeholders(self, num_samples: int) -> Placeholders:
        frames = self._frames(num_samples)
        if self.max_frames is not None:
            frames = min(frames, self.max_frames)
        window = self.window_frames or max(frames, 1)
        whole, rest = divmod(frames, window)
        if rest and self.pad_windows:
            whole, rest = whole + 1, 0
        tokens = whole * self._thinned(window) + (self._thinned(rest) if rest else 0)
        tokens = -(-tokens // self.group)
        if self.audio_seq_length is not None:
            tokens = min(tokens, self.audio_seq_length)
        return Placeholders(tokens, self.separators)

    def heard(self, num_samples: int) -> int:
        """The samples that are not cut off."""
        if self.max_frames is not None:
            num_samples = min(num_samples, self.max_frames * self.hop_length)
        if self.audio_seq_length is not None:
            strides = math.prod(stride for _, stride, _ in self.convolutions)
            most = self.audio_seq_length * self.group * strides * self.hop_length
            num_samples = min(num_samples, most)
        return num_samples

    def _frames(self, num_samples: int) -> int:
        if self.frame_length is None:
            return num_samples // self.hop_length
        return max(0, (num_samples + self.pad_left - self.frame_length) // self.hop_length + 1)

    def _thinned(self, frames: int) -> int:
        for kernel, stride, padding in self.convolutions:
            frames = max(0, (frames + 2 * padding - kernel) // stride + 1)
        return frames
