"""Where a command's words go: answers to stdout, notes to stderr, and neither may end in a traceback.

A file's name need not be text, a stream need not take every character, and whoever reads may stop.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from kvcalc.errors import FileError, UsageError, one_line

# What drawings are made of, for a stream that has no such characters.
_ASCII = str.maketrans("─│┈└▏▎▍▌▋▊▉█▒▓▞░▚▕▟…·×", "-|.+########%@/.\\|=~.x")


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
    """Lines on stderr for whoever watches; that nobody can read them changes nothing.

    A file's words in them cannot steer a terminal.
    """
    # GitHub takes a line that begins so for a command of the workflow's; a path may bring one.
    text = "\n".join(map(one_line, text.replace("\n::", "\\n::").split("\n")))
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def spare(path: Path, force: bool) -> None:
    """Raise UsageError where writing would cost somebody a file that is not empty."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file to write")
    if not force and path.exists() and path.stat().st_size:
        raise UsageError(f"{path} exists; --force overwrites it")


def spare_sources(path: Path, sources: Iterable[str | Path]) -> None:
    """Raise UsageError where writing would replace what the answer is made of, forced or not.

    sources: the files and folders that are read; a folder stands for the model files in it. Weights
    are never what a command writes.
    """
    if not path.exists():
        return
    for source in map(Path, sources):
        inside = source.is_dir() and path.suffix in (".json", ".yaml", ".yml")
        if os.path.exists(source) and (
            path.samefile(source) or (inside and path.resolve().parent == source.resolve())
        ):
            raise UsageError(f"{path} is what is read: name another file to write")
    if path.suffix in (".safetensors", ".gguf"):
        raise UsageError(f"{path} holds weights: name another file to write")


def write_file(path: Path, data: bytes, force: bool, sources: Iterable[str | Path] = ()) -> None:
    """Write a file that was asked for: whole, or what was there stays as it is.

    Raises UsageError as ``spare`` and ``spare_sources``, FileError when it cannot be written.
    """
    try:
        spare_sources(path, sources)
        spare(path, force)
        _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from None


def _replace(path: Path, data: bytes) -> None:
    """Write beside a file and then take its place, so that a full disk costs nobody the old one."""
    if path.exists() and not path.is_file():
        # A device or a pipe has no place to take.
        path.write_bytes(data)
        return
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o7777)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace")
