"""Which rule for sound a ``model_type`` has, read as ``kvcalc.media.families`` reads images.

Defaults: transformers 5.23.0, the class attributes of each feature extractor.
"""

from collections.abc import Callable

from kvcalc.errors import UnsupportedError
from kvcalc.media.convolved_frames import ConvolvedFrames
from kvcalc.media.fixed_audio import FixedAudio
from kvcalc.media.query_windows import QueryWindows
from kvcalc.media.source import Source
from kvcalc.media.words import AudioRule


def audio_rule(model_type: str, source: Source) -> AudioRule:
    """The rule for sound. Raises UnsupportedError for a type whose processor is not known."""
    if model_type not in AUDIO:
        raise UnsupportedError(
            f"{model_type}: how many tokens it makes of a sound is not known here"
        )
    return AUDIO[model_type](source)


# Whisper's encoder halves the frames; Qwen pools pairs of what is left.
_HALVED_TWICE = ((3, 2, 1), (2, 2, 0))


def _whisper(
    *convolutions: tuple[int, int, int], window: int | None = None, pad: bool = False,
    cut: bool = False, separators: int = 0,
) -> Callable[[Source], AudioRule]:  # fmt: skip
    """Frames of 10 ms. cut: whether what is beyond ``chunk_length`` seconds is cut off."""

    def read(source: Source) -> AudioRule:
        most = 100 * source.get("chunk_length", default=30) if cut else None
        return ConvolvedFrames(
            kind="convolved_frames", convolutions=convolutions, window_frames=window, pad_windows=pad,
            max_frames=most, separators=separators,
        )  # fmt: skip

    return read


def _gemma4_audio(source: Source) -> AudioRule:
    return ConvolvedFrames(
        kind="convolved_frames",
        frame_length=321,
        pad_left=160,
        convolutions=((3, 2, 1), (3, 2, 1)),
        audio_seq_length=source.get("audio_seq_length", default=750),
        separators=2,
    )


def _gemma4_unified_audio(source: Source) -> AudioRule:
    """Samples as they are, 640 a place and the last ones filled up (processing_gemma4_unified.py)."""
    samples = source.get("audio_samples_per_token", default=640)
    return ConvolvedFrames(
        kind="convolved_frames", hop_length=samples, frame_length=samples, pad_left=samples - 1,
        separators=2,
    )  # fmt: skip


def _phi4_audio(source: Source) -> AudioRule:
    return ConvolvedFrames(
        kind="convolved_frames",
        frame_length=400,
        group=source.get("audio_compression_rate", default=8)
        * source.get("audio_downsample_rate", default=1),
    )


def _gemma3n_audio(source: Source) -> AudioRule:
    return FixedAudio(
        kind="fixed_audio",
        audio_seq_length=source.get("audio_seq_length", default=188),
        separators=4,
    )


def _granite_speech(source: Source) -> AudioRule:
    return QueryWindows(
        kind="query_windows",
        projector_window_size=source.get("projector_window_size", "window_size", default=15),
        projector_downsample_rate=source.get(
            "projector_downsample_rate", "downsample_rate", default=5
        ),
    )


AUDIO: dict[str, Callable[[Source], AudioRule]] = {
    "qwen2_audio": _whisper(*_HALVED_TWICE, cut=True, separators=2),
    "qwen2_5_omni": _whisper(*_HALVED_TWICE, cut=True, separators=2),
    "qwen3_omni_moe": _whisper((3, 2, 1), (3, 2, 1), (3, 2, 1), window=100, separators=2),
    "audioflamingo3": _whisper(*_HALVED_TWICE, window=3000),
    "glmasr": _whisper((3, 1, 1), (3, 2, 1), (4, 4, 0), window=3000),
    "voxtral": _whisper((3, 1, 1), (3, 2, 1), (4, 4, 0), window=3000, pad=True),
    "gemma3n": _gemma3n_audio,
    "gemma4": _gemma4_audio,
    "gemma4_unified": _gemma4_unified_audio,
    "phi4_multimodal": _phi4_audio,
    "granite_speech": _granite_speech,
}
