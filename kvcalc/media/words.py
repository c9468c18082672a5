"""The vocabulary of media: what is put in, and the places that it takes."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.units import format_tokens

Modality = Literal["image", "video", "audio"]
# Wider or higher than any camera; a processor would need gigabytes for it.
MAX_SIDE = 1 << 16
# A day of sound or video.
MAX_SECONDS = 86_400


@frozen
class Image:
    """An image of ``width`` x ``height`` pixels, in the order in which people write it."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@frozen
class Placeholders:
    """The places of one item in the prompt.

    tokens: places that the tower's embeddings take. separators: tokens of the vocabulary around and
    between them: begin, end, row ends, names of tiles.
    """

    tokens: int
    separators: int = 0

    @property
    def total(self) -> int:
        """All places in the context."""
        return self.tokens + self.separators


@frozen(kw_only=True)
class MediaItem:
    """Equal items of one request, and the places that each takes.

    size: ``1920x1080``, ``30s`` or a video's length and frames, as it was asked for or as the largest.
    encoder_tokens: keys of one item in cross-attention layers, where the model has such.
    """

    kind: Modality
    count: int
    size: str
    tokens: int
    separators: int
    encoder_tokens: int = 0

    @property
    def context_tokens(self) -> int:
        """Places of all of them in the context."""
        return self.count * (self.tokens + self.separators)

    def __str__(self) -> str:
        beside = f" and {self.separators} separators" if self.separators else ""
        what = f"{self.count} x {self.kind} of {self.size}"
        return f"{what}: {self.tokens:,} tokens{beside} each"


@frozen(kw_only=True)
class LargestItem:
    """Tokens of the largest item of each modality; None: not known, 0: the model takes none.

    video_step: tokens of a frame, or of a group of them, of which a video has as many as the longest
    request holds, at most max_steps; video_end: behind them. beside_image: the largest image stands
    in the same request. audio_whole: a sound has as many tokens as the longest request.
    """

    image: int | None = 0
    video: int | None = 0
    audio: int | None = 0
    video_step: int = 0
    max_steps: int | None = None
    video_end: int = 0
    beside_image: bool = False
    audio_whole: bool = False

    @property
    def grows(self) -> bool:
        """Whether it depends on the longest request."""
        return bool(self.video_step) or self.audio_whole

    def of(self, length: int, limits: Mapping[str, int]) -> tuple[Modality, int] | None:
        """The modality with the most tokens and how many; None where nothing is known or taken.

        length: the longest request. limits: items of a request, by modality; of 0 nothing is planned.
        """
        found: dict[Modality, int | None] = {
            "image": self.image,
            "video": self._video(length, limits) if self.video_step else self.video,
            "audio": length if self.audio_whole else self.audio,
        }  # fmt: skip
        known: list[tuple[Modality, int]] = [
            (name, tokens) for name, tokens in found.items() if tokens and limits.get(name, 1)
        ]
        return max(known, key=lambda pair: pair[1], default=None)

    def _video(self, length: int, limits: Mapping[str, int]) -> int:
        """Tokens of the longest video in a request."""
        room = length - self.video_end
        if self.beside_image and limits.get("image", 1):
            room -= self.image or 0
        steps = max(1, room // self.video_step)
        steps = steps if self.max_steps is None else min(steps, self.max_steps)
        return steps * self.video_step + self.video_end

    def unknown(self, limits: Mapping[str, int]) -> tuple[Modality, ...]:
        """Modalities that it may take items of, nobody knows how large."""
        found: tuple[tuple[Modality, int | None], ...] = (
            ("image", self.image), ("video", self.video), ("audio", self.audio)
        )  # fmt: skip
        return tuple(name for name, tokens in found if tokens is None and limits.get(name, 1))


def tokens_in_words(context_tokens: int, media: Sequence[MediaItem]) -> str:
    """``8k tokens``; with media ``13,088 tokens (4,896 for 4 x image of 1920x1080)``."""
    if not media:
        return f"{format_tokens(context_tokens)} tokens"
    items = ", ".join(
        f"{item.context_tokens:,} for {item.count} x {item.kind} of {item.size}" for item in media
    )
    return f"{context_tokens:,} tokens ({items})"


class ImageRule(Protocol):
    """What a processor makes of an image."""

    def placeholders(self, image: Image) -> Placeholders:
        """The places of one image. Raises UsageError for a size that the processor refuses."""
        ...

    def largest(self) -> Image:
        """A size with the most places."""
        ...


class AudioRule(Protocol):
    """What a processor makes of a sound."""

    @property
    def sampling_rate(self) -> int:
        """Samples a second."""
        ...

    def placeholders(self, num_samples: int) -> Placeholders:
        """The places of a sound of ``num_samples`` samples at ``sampling_rate``."""
        ...


def most(rule: ImageRule, candidates: list[Image]) -> Image:
    """The candidate with the most places; the first of equals."""
    return max(candidates, key=lambda image: rule.placeholders(image).total)


def too_narrow(image: Image, most: int = 200) -> None:
    """Refuse what the processors of the Qwen kind refuse: a side ``most`` times the other."""
    if max(image.width, image.height) / min(image.width, image.height) > most:
        raise UsageError(
            f"an image of {image}: the model's processor refuses sides of more than {most}:1"
        )
