"""Which files of a working tree differ from a commit, as a reader of them would find.

The contents on disk are compared with those of the commit, and git's index is only asked for names:
``git update-index --assume-unchanged``, ``--skip-worktree``, settings that trust times or sizes, and
filters all make ``git diff`` pass over a file that a command would read. Links are followed on both
sides, since the commands follow them.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from kvcalc.checks.git import LINK, SUBMODULE, Entry, Repository
from kvcalc.frozen import frozen

_CHUNK = 1 << 20


@frozen
class Changed:
    """A file that differs between the base and the working tree.

    base_object: what it was, or what a link there led to; None for a new file. in_head: whether a
    file is there, or a link leads to one. was_link: the base has a link at the path. leads_to: what
    a link there leads to now, as the repository names it; None for no link and for one out of it.
    is_submodule: it is a folder with a repository of its own, and base_object the commit it was at.
    """

    path: str
    base_object: str | None
    in_head: bool
    was_link: bool = False
    leads_to: str | None = None
    is_submodule: bool = False


def changed(
    repository: Repository, commit: str, paths: tuple[str, ...], meant: Callable[[str], bool]
) -> list[Changed]:
    """Files at and below ``paths`` that are ``meant`` and differ; none ignored that are new.

    Without git's search for renames: specs of two models are as similar as two versions of one.
    Submodules that stand at another commit come along, whatever they are called.
    """
    base = repository.entries(commit, paths)
    submodules = {path for path, entry in base.items() if entry.mode == SUBMODULE}
    links = [path for path, entry in base.items() if entry.mode == LINK and meant(path)]
    behind = repository.behind(commit, links)
    names = (path for path in (*base, *repository.present(paths)) if meant(path))
    found = []
    # Where models went that a link stands for in their old place.
    same: set[str | None] = set()
    for path in dict.fromkeys(names):
        if path in submodules:
            continue
        entry = base.get(path)
        was_link = entry is not None and entry.mode == LINK
        old = behind.get(path) if was_link else entry.object if entry is not None else None
        file = repository.root / path
        in_head = os.path.isfile(file)
        leads_to = _leads_to(repository, file)
        if in_head and _is_same(file, entry, old, was_link):
            same.add(leads_to)
        elif in_head or old is not None:
            found.append(Changed(path, old, in_head, was_link, leads_to))
    moved = repository.moved_submodules(commit, submodules)
    found += [Changed(path, base[path].object, True, is_submodule=True) for path in moved]
    news = [each for each in found if each.base_object is not None or each.path not in same]
    return _once(repository, commit, news, meant)


def _once(
    repository: Repository, commit: str, found: list[Changed], meant: Callable[[str], bool]
) -> list[Changed]:
    """Without the files that are another name of one that is compared.

    A link that is new, or was one, tells nothing that its target does not; where it took a file's
    place, it is compared with that file, and a target that is new is no model of its own.
    """
    present = {each.path: each for each in found if not each.is_submodule}
    kept, stood_for = [], set()
    for each in found:
        target = each.leads_to
        if target is not None and meant(target):
            is_new = each.base_object is None
            known = target in present or (is_new and bool(repository.files(commit, target)))
            if known and (is_new or each.was_link):
                continue
            if target in present and present[target].base_object is None:
                stood_for.add(target)
        kept.append(each)
    return [each for each in kept if each.path not in stood_for]


def _leads_to(repository: Repository, file: Path) -> str | None:
    if not file.is_symlink():
        return None
    name = os.path.relpath(os.path.realpath(file), os.path.realpath(repository.root))
    name = name.replace(os.sep, "/")
    return None if name == ".." or name.startswith("../") else name


def _is_same(file: Path, entry: Entry | None, old: str | None, was_link: bool) -> bool:
    """Whether a file has the bytes of an object: its size first, then its hash as git makes it."""
    if entry is None or old is None:
        return False
    try:
        size = file.stat().st_size
        if not was_link and size != entry.num_bytes:
            return False
        digest = hashlib.new("sha1" if len(old) == 40 else "sha256", usedforsecurity=False)
        digest.update(b"blob %d\0" % size)
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == old
