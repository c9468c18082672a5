"""Where a log comes from: a file, stdin, or a running server that is asked."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvcalc.errors import FileError
from kvcalc.logs.lines import PIECE_BYTES
from kvcalc.reading import unreadable


@contextmanager
def pieces_of(source: str) -> Iterator[Iterator[bytes]]:
    """The bytes of a source, piece by piece. Raises NotFoundError or FileError."""
    if source.startswith(("http://", "https://")):
        from kvcalc.logs.server import asked

        yield iter((asked(source),))
        return
    if source == "-":
        if sys.stdin is None:
            raise FileError("cannot read stdin: it is closed")
        stream = sys.stdin.buffer
        yield iter(lambda: stream.read(PIECE_BYTES), b"")
        return
    path = Path(source)
    try:
        with path.open("rb") as file:
            yield _pieces(path, file)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def _pieces(path: Path, file) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
    first = file.read(PIECE_BYTES)
    if b"\0" in first[:4096] and first[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise FileError(f"{path} is no text: a log is wanted, as the engine prints it")
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        # PowerShell writes UTF-16.
        yield (first + file.read()).decode("utf-16", "replace").encode()
        return
    while first:
        yield first
        first = file.read(PIECE_BYTES)
