"""A folder of files that a command makes: written whole, and nothing of anybody else's touched.

The folder holds a list of what was written and its checksums (``LIST``): by it the command knows its own
files again, and a file that somebody has changed, or put there, from them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp

from kvcalc.errors import FileError, UsageError

LIST = "site.json"
_BESIDE = ".kvcalc-site-"
# Enough of them to know what would be lost.
_NAMED = 3


def spare_folder(folder: Path, force: bool) -> dict[str, str]:
    """What the folder holds of an earlier run: path -> checksum. Raises UsageError where writing there
    would cost somebody something, and FileError where it cannot be read."""
    if folder.is_symlink() and not folder.exists():
        raise UsageError(f"{folder} is a link to nothing")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder to write")
    if not folder.exists():
        return {}
    try:
        own = _own(folder)
        foreign = [] if force else list(_foreign(folder, own))
    except OSError as error:
        raise FileError(f"cannot read {folder}: {error.strerror}") from None
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise UsageError(
            f"{folder} holds what 'kvcalc site' did not write ({', '.join(foreign[:_NAMED])}{more}): name "
            "another folder, or --force writes into it and leaves the rest"
        )
    return own


def write_folder(folder: Path, files: Iterable[tuple[str, bytes]], force: bool) -> tuple[int, int]:
    """Write the files, and remove those of an earlier run that are no more; (files, bytes).

    All are written elsewhere first, so that a full disk or a model without an answer costs nobody the
    old ones: inside the folder where it is there, as it may be a disk of its own. Raises as
    ``spare_folder``, and FileError when it cannot be written.
    """
    own = spare_folder(folder, force)
    folder = Path(os.path.realpath(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=_BESIDE, dir=folder if folder.exists() else folder.parent))
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror}") from None
    try:
        sums = {path: _put(beside / path, data) for path, data in files}
        total = sum((beside / path).stat().st_size for path in sums)
        _put(beside / LIST, _list(sums))
        # Time has passed: somebody may have put something there.
        spare_folder(folder, force)
        _move(beside, folder, (*sums, LIST), [path for path in own if path not in sums])
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return len(sums) + 1, total


def _own(folder: Path) -> dict[str, str]:
    """The list of an earlier run; nothing where there is none, or it is something else."""
    try:
        found = json.loads((folder / LIST).read_text("utf-8"))
        return {str(path): str(found["files"][path]) for path in found["files"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _foreign(folder: Path, own: dict[str, str]) -> Iterable[str]:
    """What the list does not have, or has otherwise; links are never the command's."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(_BESIDE))
        here = Path(root)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted((*names, *links)):
            file = here / name
            path = file.relative_to(folder).as_posix()
            if path == LIST and own:
                continue
            if file.is_symlink() or own.get(path) != _sum(file.read_bytes()):
                yield path


def _put(file: Path, data: bytes) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return _sum(data)


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _list(sums: dict[str, str]) -> bytes:
    return (json.dumps({"files": dict(sorted(sums.items()))}, indent=0) + "\n").encode()


def _move(beside: Path, folder: Path, paths: Iterable[str], gone: Iterable[str]) -> None:
    """Put each file in its place, the list last; then remove what is no more."""
    for path in paths:
        target = folder / path
        if target.parent.resolve() != folder / Path(path).parent:
            raise UsageError(f"{target.parent} is a link: it leads out of {folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        (beside / path).replace(target)
    for path in gone:
        (folder / path).unlink(missing_ok=True)
