"""``--images`` and ``--audio``: what is put into each request beside its text."""

from typing import Annotated

import typer

from kvcalc.media.asked import MediaWords

Images = Annotated[
    list[str] | None,
    typer.Option(
        "--images", metavar="N|NxWxH",
        help="Images in each sequence, on top of --context: 3 of the largest, or 4x1920x1080.",
    ),
]  # fmt: skip
Audio = Annotated[
    list[str] | None,
    typer.Option(
        "--audio",
        metavar="SECONDS",
        help="Sound in each sequence, on top of --context: 30s, 2x30s.",
    ),
]


def media_words(images: list[str] | None, audio: list[str] | None) -> MediaWords:
    """What is put into each request."""
    return MediaWords(images=tuple(images or ()), audio=tuple(audio or ()))
