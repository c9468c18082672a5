"""Answers that name files of the user's: a file's name need not be text."""

import sys


def write(text: str) -> None:
    """Write to stdout; what a path holds that is no text goes out as the bytes that it is."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.flush()
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.buffer.write(text.encode(encoding, "surrogateescape"))
