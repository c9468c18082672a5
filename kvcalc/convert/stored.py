"""What readers of model files share: a tensor as a header lists it, and opening files with care."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO

from kvcalc.errors import FileError, KvcalcError, NotFoundError, Problem, SpecError
from kvcalc.frozen import dataclass


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a header. dtype: the file's own word for its number format."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    num_bytes: int

    @property
    def numel(self) -> int:
        return prod(self.shape)


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, or what a link leads to, and say how many bytes it has.

    A pipe or a device would be waited for or read for ever, so nothing else is opened.
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


def unreadable(path: Path, error: Exception) -> KvcalcError:
    """The error about a file that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"no such file: {path}")
    reason = error.strerror if isinstance(error, OSError) else error
    return FileError(f"cannot read {path}: {reason}")


def wrong_file(path: str, message: str) -> SpecError:
    """The error about a file whose content is wrong."""
    return SpecError(f"{path}: {message}", (Problem("KV101", path, 0, 0, "", message),))
