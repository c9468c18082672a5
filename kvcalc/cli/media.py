"""``--images``, ``--audio`` and ``--video``: what is put into each request beside its text."""

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
Video = Annotated[
    list[str] | None,
    typer.Option(
        "--video",
        metavar="SECONDS@FPS",
        help="Video in each sequence, on top of --context: 60s@2fps, 2x60s@2fps@1280x720.",
    ),
]


def media_words(
    images: list[str] | None, audio: list[str] | None, video: list[str] | None
) -> MediaWords:
    """What is put into each request."""
    return MediaWords(
        images=tuple(images or ()), audio=tuple(audio or ()), video=tuple(video or ())
    )
