"""Answers that name files of the user's: a file's name need not be text."""

import sys


def write(text: str) -> None:
    """Write to stdout; what a path holds that is no text goes out as the bytes that it is.

    Where stdout's encoding does not have a character, its escape stands for it.
    """
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.flush()
        encoding = sys.stdout.encoding or "utf-8"
        try:
            data = text.encode(encoding, "surrogateescape")
        except UnicodeEncodeError:
            data = text.encode(encoding, "backslashreplace")
        sys.stdout.buffer.write(data)
