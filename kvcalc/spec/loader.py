"""Load a spec from YAML text or a file: form first, then consistency, every problem at once."""

from collections.abc import Callable
from os.path import isdir
from pathlib import Path

from kvcalc.errors import FileError, Problem, SpecError
from kvcalc.frozen import frozen
from kvcalc.reading import at_most
from kvcalc.spec.consistency import findings
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.reader import FAILED, MAX_FILE_BYTES, SpecReader


@frozen
class Loaded:
    """What came of a file: the spec (None when its form is wrong), its problems, its source map.

    mark: where a field, or its nearest parent, stands: (line, column), for problems found later.
    """

    path: str
    spec: ModelSpec | None
    problems: tuple[Problem, ...]
    mark: Callable[[str], tuple[int, int]]


def read_spec(text: str, path: str = "<text>") -> Loaded:
    """Read YAML text; problems are collected, not raised."""
    reader = SpecReader(path)
    value = reader.document(text, ModelSpec)
    spec = None if value is FAILED else value
    if spec is not None:
        reader.report(findings(spec))
    problems = tuple(sorted(reader.problems, key=lambda p: (p.line, p.column, p.field)))
    return Loaded(path, spec, problems, reader.mark)


def read_spec_file(path: Path) -> Loaded:
    """Read a file. Raises NotFoundError or FileError when there is nothing to read."""
    return read_spec(read_text(path), str(path))


def load_spec_file(path: Path) -> ModelSpec:
    """Load a file. Raises SpecError with every problem, NotFoundError or FileError."""
    return _sound(read_spec_file(path))


def load_spec_text(text: str, path: str = "<text>") -> ModelSpec:
    """Load YAML text. Raises SpecError with every problem."""
    return _sound(read_spec(text, path))


def _sound(loaded: Loaded) -> ModelSpec:
    if loaded.spec is None or loaded.problems:
        count = len(loaded.problems)
        raise SpecError(
            f"{loaded.path} has {count} problem{'s' if count != 1 else ''}", loaded.problems
        )
    return loaded.spec


def read_text(path: Path, limit: int = MAX_FILE_BYTES, what: str = "a spec") -> str:
    """The text of a file. Raises NotFoundError, FileError, or SpecError when it is no text.

    limit: the most bytes that one has. what: what it then is not.
    """
    if isdir(path):
        raise FileError(f"{path} is a directory, not a spec")
    return decode(at_most(path, limit), path, limit, what)


def decode(data: bytes, path: Path, limit: int = MAX_FILE_BYTES, what: str = "a spec") -> str:
    """The text of a file's bytes. Raises SpecError when they are too many, or no UTF-8."""
    if len(data) > limit:
        message = f"larger than {limit} bytes: not {what}"
        raise SpecError(f"{path}: {message}", (Problem("KV101", str(path), 0, 0, "", message),))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"not UTF-8 (byte 0x{data[error.start]:02x})"
        problem = Problem("KV101", str(path), line, column, "", message)
        raise SpecError(f"{path}: {message}", (problem,)) from None
