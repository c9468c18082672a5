"""Where a command's words go: answers to stdout, notes to stderr, and neither may end in a traceback.

A file's name need not be text, a stream need not take every character, and whoever reads may stop.
"""

import os
import sys
from pathlib import Path

from kvcalc.errors import FileError, UsageError

# What drawings are made of, for a stream that has no such characters.
_ASCII = str.maketrans("─│┈└▏▎▍▌▋▊▉█▒▓▞░▚▕…·×", "-|.+########%@/.\\|~.x")


def open_closed() -> None:
    """Give a command that was started without stdout or stderr something to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def write(text: str) -> bool:
    """Write to stdout; False when nobody reads it any more, as behind ``| head``.

    What a path holds that is no text goes out as the bytes that it is; where stdout's encoding does
    not have a character, a likeness or its escape stands for it. Raises FileError when the stream
    takes no more.
    """
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:
            sys.stdout.flush()
            sys.stdout.buffer.write(_encoded(text, sys.stdout.encoding or "utf-8"))
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would make Python complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return False
        raise FileError(f"cannot write the answer: {error.strerror}") from None
    return True


def note(text: str) -> None:
    """A line on stderr for whoever watches; that nobody can read it changes nothing."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def spare(path: Path, force: bool) -> None:
    """Raise UsageError where writing would cost somebody a file that is not empty."""
    if not force and path.exists() and (path.is_dir() or path.stat().st_size):
        raise UsageError(f"{path} exists; --force overwrites it")


def write_file(path: Path, data: bytes, force: bool) -> None:
    """Write a file that was asked for. Raises UsageError as ``spare``, FileError when it cannot."""
    try:
        spare(path, force)
        path.write_bytes(data)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from None


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace")
