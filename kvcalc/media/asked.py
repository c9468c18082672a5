"""``--images 4x1920x1080`` and ``--audio 30s`` as a person writes them."""

import re
from typing import TYPE_CHECKING

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.media.words import MAX_SECONDS, MAX_SIDE, Image

if TYPE_CHECKING:
    from fractions import Fraction

# Of two numbers the first is a width from here on; below it might be a count.
_SIDE = 64
# More items than a request can hold at one token each.
MAX_ITEMS = 1 << 20


@frozen(kw_only=True)
class MediaWords:
    """What is put into each request, as it was written: words of ``--images``, ``--audio``, ``--video``.

    processor: settings of the images' processor that the server sets itself.
    """

    images: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    video: tuple[str, ...] = ()
    processor: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.images or self.audio or self.video)


NOTHING = MediaWords()


@frozen
class Images:
    """``count`` images of one size; None: each as large as costs the model most."""

    count: int
    size: Image | None


@frozen
class Sounds:
    """``count`` sounds of the same length."""

    count: int
    seconds: "Fraction"

    @property
    def size(self) -> str:
        """``30s``."""
        return f"{float(self.seconds):g}s"


@frozen
class Videos:
    """``count`` videos of the same length; num_frames: that the model is shown of each."""

    count: int
    seconds: "Fraction"
    num_frames: int
    frame: Image | None

    @property
    def size(self) -> str:
        """``60s, 120 frames``."""
        return f"{float(self.seconds):g}s, {self.num_frames:,} frames"


def images(text: str) -> Images:
    """``10``, ``4x1920x1080`` or, for one, ``1920x1080``. Raises UsageError for anything else."""
    said = text.strip().lower()
    pair = re.fullmatch(r"(\d{1,6})x(\d{1,6})", said)
    if pair is not None and min(int(pair[1]), int(pair[2])) >= _SIDE:
        said = f"1x{said}"
    match = re.fullmatch(r"(\d{1,7})(?:x(\d{1,6})x(\d{1,6}))?", said)
    if match is None:
        hint = f"; {pair[1]} images are {pair[1]}xWIDTHxHEIGHT, one is 1x{said}" if pair else ""
        raise UsageError(f"--images {text!r}: write a number, or NUMBERxWIDTHxHEIGHT{hint}")
    count = _count(int(match[1]), "--images")
    if match[2] is None:
        return Images(count, None)
    width, height = int(match[2]), int(match[3])
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"--images {text}: a side has 1 to {MAX_SIDE:,} pixels")
    return Images(count, Image(width, height))


def sounds(text: str) -> Sounds:
    """``30s`` or ``2x30s``. Raises UsageError for anything else."""
    match = re.fullmatch(r"(?:(\d{1,7})x)?(\d{1,6}(?:\.\d{1,6})?)s", text.strip().lower())
    if match is None:
        hint = f": write {text}s" if re.fullmatch(r"\d+", text) else ""
        raise UsageError(f"--audio {text!r} has no length in seconds, such as 30s or 2x30s{hint}")
    from fractions import Fraction

    seconds = Fraction(match[2])
    if not 0 < seconds <= MAX_SECONDS:
        raise UsageError(
            f"--audio {text}: a sound has more than 0 and at most {MAX_SECONDS:,} seconds"
        )
    return Sounds(_count(int(match[1] or 1), "--audio"), seconds)


def videos(text: str) -> Videos:
    """``60s@2fps``, ``2x60s@2fps@1280x720``. Raises UsageError for anything else."""
    match = re.fullmatch(
        r"(?:(\d{1,7})x)?(\d{1,6}(?:\.\d{1,6})?)s@(\d{1,4}(?:\.\d{1,6})?)fps(?:@(\d{1,6})x(\d{1,6}))?",
        text.strip().lower(),
    )
    if match is None:
        hint = f": write {text}@2fps" if re.fullmatch(r"\d+s", text) else ""
        raise UsageError(
            f"--video {text!r} has no length and frames a second, such as 60s@2fps or "
            f"60s@2fps@1280x720{hint}"
        )
    from fractions import Fraction

    seconds, rate = Fraction(match[2]), Fraction(match[3])
    if not 0 < seconds <= MAX_SECONDS or not 0 < rate <= 1000:
        raise UsageError(
            f"--video {text}: a video has more than 0 and at most {MAX_SECONDS:,} seconds, each of more "
            "than 0 and at most 1,000 frames"
        )
    frame = Image(int(match[4]), int(match[5])) if match[4] else None
    if frame is not None and not (1 <= frame.width <= MAX_SIDE and 1 <= frame.height <= MAX_SIDE):
        raise UsageError(f"--video {text}: a side has 1 to {MAX_SIDE:,} pixels")
    num_frames = max(1, int(seconds * rate))
    return Videos(_count(int(match[1] or 1), "--video"), seconds, num_frames, frame)


def _count(number: int, option: str) -> int:
    if not 1 <= number <= MAX_ITEMS:
        raise UsageError(f"{option}: 1 to {MAX_ITEMS:,} of them")
    return number
