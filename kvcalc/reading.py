"""Reading files that somebody else wrote: never more of one than what it should be could hold.

Every reader of kvcalc goes through here, so that a file of a gigabyte, a pipe and a device end in a
sentence, or are passed over, and none is read whole to find out that it is too large.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kvcalc.errors import FileError, KvcalcError, NotFoundError

# The largest config.json known, with a vocabulary in it, has 2 MB.
MAX_CONFIG_BYTES = 8 << 20
# Most specs and configs are smaller. A buffer for the largest costs more than to read one.
_MOST_BYTES = 1 << 16


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, or what a link leads to, and say how many bytes it has.

    A pipe or a device would be waited for or read for ever, so nothing else is opened. Raises
    NotFoundError or FileError.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise FileError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"{path} is not a regular file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    with file:
        yield file, status.st_size


def at_most(path: Path, limit: int) -> bytes:
    """The bytes of a file that a user named, or ``limit`` + 1 of them: then it has too many.

    A pipe is read as well, since a shell's ``<(...)`` is one. Raises NotFoundError or FileError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(min(limit + 1, _MOST_BYTES))
            return data if len(data) < _MOST_BYTES else data + file.read(limit + 1 - len(data))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def first_bytes(path: Path, count: int) -> bytes:
    """At most ``count`` bytes of a regular file, to see what it is; none of what cannot be read."""
    try:
        with open_regular(path) as (file, _):
            return file.read(count)
    except (KvcalcError, OSError):
        return b""


def unreadable(path: Path, error: Exception) -> KvcalcError:
    """The error about a file that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"no such file: {path}")
    reason = error.strerror if isinstance(error, OSError) else error
    return FileError(f"cannot read {path}: {reason}")
