"""Words that a prompt has beside each group of a video's frames: time stamps, and numbers of frames.

    Qwen3-VL   ``<12.5 seconds>``   <, a token a digit, the point, a digit, " seconds", >
    InternVL   ``Frame12: ``        Frame, a token a digit, :, a space; a line's end between frames
    GLM-4.1V   ``12``               whole seconds: at most a token a digit

Qwen's tokenizer takes digits one by one, so that a stamp's tokens follow from its length. The frames'
times go by the video's own rate, which nobody stated: each is taken as late as any rate makes it, half a
step behind its place, so the count is the most there can be, and a token over for each power of ten at
most. Where the language model's tokenizer is not Qwen's, nothing is counted.

Source: transformers 5.23.0, replace_video_token of processing_qwen3_vl.py, processing_internvl.py and
processing_glm4v.py; the vocabulary of Qwen2 as llama.cpp ships it (models/ggml-vocab-qwen2.gguf), in
transformers' Qwen2Tokenizer.
"""

from collections.abc import Callable
from fractions import Fraction

# Tokens of "<", ".", one digit, " seconds" and ">", and of "Frame", ":" and " ".
_SECONDS, _FRAME = 5, 3
# Language models whose tokenizer is Qwen's.
_QWEN = ("qwen2", "qwen3", "qwen3_moe", "qwen2_text", "qwen3_text")


def _qwen_stamps(num_frames: int, seconds: Fraction) -> int:
    """``<x.y seconds>`` for each pair of frames, at the middle of the two."""
    step, total = seconds / max(num_frames - 1, 1), 0
    for group in range(-(-num_frames // 2)):
        time = min(seconds, (2 * group + 1) * step)
        tenths = int(time * 10 + Fraction(1, 2))
        total += _SECONDS + len(str(tenths // 10))
    return total


def _glm_stamps(num_frames: int, seconds: Fraction) -> int:
    """Whole seconds for each pair of frames, at the first of the two."""
    step = seconds / max(num_frames - 1, 1)
    times = (
        min(seconds, (2 * group + Fraction(1, 2)) * step) for group in range(-(-num_frames // 2))
    )
    return sum(len(str(int(time))) for time in times)


def _frame_numbers(num_frames: int, seconds: Fraction) -> int:
    """``FrameN: `` before each frame, a line's end between two."""
    return sum(_FRAME + len(str(index)) for index in range(1, num_frames + 1)) + num_frames - 1


_COUNTED: dict[str, Callable[[int, Fraction], int]] = {
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _qwen_stamps),
    "glm4v": _glm_stamps,
    "internvl": _frame_numbers,
}


def stamp_tokens(
    model_type: str, text_type: str | None, num_frames: int, seconds: Fraction
) -> int | None:
    """The most tokens of the words beside a video's frames; None where they are not known.

    text_type: the language model's model_type, where a config states it: InternVL takes any.

    >>> stamp_tokens("qwen3_vl", None, 120, Fraction(60))
    410
    """
    if model_type not in _COUNTED or (
        model_type == "internvl" and text_type is not None and text_type not in _QWEN
    ):
        return None
    return _COUNTED[model_type](num_frames, seconds)
