"""Both sides of a comparison: which files of a repository are meant, and what each side of one says.

The base's text comes from git, the head's from disk, so there is no stored result that could be
missing or stale.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from kvcalc.checks.changed import Changed, changed
from kvcalc.checks.files import (
    APART,
    FILE_NAME,
    ModelFile,
    is_config,
    is_named_like_a_model,
    looks_like_a_model,
    read_model,
)
from kvcalc.checks.git import Repository
from kvcalc.checks.policy import LoadedPolicy, policy_of
from kvcalc.checks.quantities import measure
from kvcalc.errors import KvcalcError, NotFoundError, Problem, UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.workload import Asked
from kvcalc.reading import MAX_CONFIG_BYTES, at_most, first_bytes
from kvcalc.spec.loader import Loaded, decode, read_text
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.reader import MAX_FILE_BYTES


@frozen
class Side:
    """One side of a file: what it loads to, and its numbers when it is sound."""

    path: str
    file: ModelFile
    quantities: dict[str, int]

    @property
    def loaded(self) -> Loaded:
        return self.file.loaded

    @property
    def is_sound(self) -> bool:
        return self.loaded.spec is not None and not self.loaded.problems

    @property
    def spec(self) -> ModelSpec:
        assert self.loaded.spec is not None
        return self.loaded.spec


def folder_of(path: Path) -> Path:
    """The nearest folder that exists: a path may stand in the base only."""
    folder = Path(os.path.abspath(path))
    while not folder.is_dir():
        folder = folder.parent
    return folder


def wanted_paths(repository: Repository, commit: str, paths: tuple[Path, ...]) -> list[str]:
    """The paths as the repository names them, and where links among them lead.

    Raises UsageError for a path outside of it, NotFoundError for one without a spec.
    """
    wanted = []
    root = os.path.realpath(repository.root)
    for path in paths:
        folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
        full = os.path.realpath(path) if path.is_dir() else os.path.join(folder, path.name)
        name = _below(full, root)
        if name is None:
            raise UsageError(f"{path} is not in the repository {repository.root}")
        on_disk = _models_on_disk(path)
        first = next(on_disk, None)
        if first is None:
            listed = repository.files(commit, name)
            if not any(is_named_like_a_model(file) or file == name for file in listed):
                what = "no spec in" if path.is_dir() or listed else "no such file, now or before:"
                raise NotFoundError(f"{what} {path}")
        wanted.append(name)
        if first is not None and name != ".":
            # 'kvcalc check' follows links, so what they lead to is meant, too.
            links = (file for file in (first, *on_disk) if file.is_symlink())
            leads = (_below(os.path.realpath(link), root) for link in links)
            wanted += [target for target in leads if target is not None]
    return wanted


def _below(full: str, root: str) -> str | None:
    """A path as the repository names it; None for one outside of it."""
    name = os.path.relpath(full, root).replace(os.sep, "/")
    return None if name == ".." or name.startswith("../") else name


def _models_on_disk(path: Path) -> Iterator[Path]:
    """The path itself, or what a folder holds that is named like a model."""
    if not path.is_dir():
        if path.exists() or path.is_symlink():
            yield path
        return
    for where, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where, file) for file in files if is_named_like_a_model(file))


def policies_upward(wanted: list[str]) -> Iterator[str]:
    """Where the policy of each path may stand: beside it, or in a folder upward."""
    for path in wanted:
        for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield str(folder / FILE_NAME)


def is_policy(path: str) -> bool:
    return PurePosixPath(path).name == FILE_NAME


@frozen
class Reader:
    """Reads both sides of files: the base's from git, the head's from disk.

    explicit: files that were asked for by name, which are models whatever they hold.
    """

    repository: Repository
    commit: str
    explicit: set[str]
    reference: Asked

    def read(self, files: list[Changed]) -> Iterator[tuple[Side | None, Side | None]]:
        """Both sides of every file that is a model."""
        named = [
            each
            for each in files
            if not (is_policy(each.path) or each.is_submodule)
            and (each.path in self.explicit or is_named_like_a_model(each.path))
        ]
        for each, data in self._with_base(named):
            file = self.repository.root / each.path
            if (
                each.path in self.explicit
                or (data is not None and looks_like_a_model(each.path, data))
                or (
                    each.in_head
                    and looks_like_a_model(each.path, first_bytes(file, MAX_CONFIG_BYTES))
                )
            ):
                yield (
                    None if data is None else self._side(each.path, data),
                    self._side(each.path, file) if each.in_head else None,
                )

    def one_sided_elsewhere(
        self, known: list[Changed], sides: tuple[bool, bool]
    ) -> tuple[list[Side], list[Side]]:
        """Sound models in the rest of the repository that only the base, or only the head, has.

        A model that moved into or out of the paths that were asked for is no new one.
        """
        rest = [
            each
            for each in changed(self.repository, self.commit, (), is_named_like_a_model)
            if each not in known
            and ((sides[0] and not each.in_head) or (sides[1] and not each.base_object))
        ]
        pairs = list(self.read(rest))
        return (
            [old for old, _ in pairs if old is not None and old.is_sound],
            [new for _, new in pairs if new is not None and new.is_sound],
        )

    def policies(self, files: list[Changed]) -> Iterator[tuple[str, LoadedPolicy, LoadedPolicy]]:
        """Both sides of every policy; one that is not there says nothing."""
        for each, data in self._with_base(files):
            base = head = policy_of("{}", each.path)
            with suppress(KvcalcError):
                if data is not None:
                    base = policy_of(decode(data, Path(each.path)), each.path)
                if each.in_head:
                    head = policy_of(read_text(self.repository.root / each.path), each.path)
                yield each.path, base, head

    def policy_above(self, path: str) -> LoadedPolicy | None:
        """The policy that the base had for the folder of a new one."""
        for folder in PurePosixPath(path).parent.parents:
            name = str(folder / FILE_NAME)
            if self.repository.files(self.commit, name):
                (data,) = self.repository.texts([f"{self.commit}:{name}"], MAX_FILE_BYTES)
                with suppress(KvcalcError):
                    return policy_of(decode(data, Path(name)), name)
                return None
        return None

    def _with_base(self, files: list[Changed]) -> Iterator[tuple[Changed, bytes | None]]:
        """Every file with the base's text of it."""
        objects = [each.base_object for each in files if each.base_object]
        texts = self.repository.texts(objects, MAX_CONFIG_BYTES)
        for each in files:
            yield each, next(texts) if each.base_object else None
        # The last text is followed by the end of git's process.
        for _ in texts:
            pass

    def _side(self, path: str, source: bytes | Path) -> Side:
        """Read and measure one side; what is wrong with it becomes its problems."""
        folder = (self.repository.root / path).parent
        beside = str(PurePosixPath(path).with_name(APART))
        apart: bytes | None = None
        try:
            if is_config(path) and isinstance(source, bytes):
                held = "\n" not in beside and self.repository.files(self.commit, beside)
                named = [f"{self.commit}:{beside}"] if held else []
                apart = next(iter([*self.repository.texts(named, MAX_CONFIG_BYTES)]), None)
            elif is_config(path) and (folder / APART).is_file():
                apart = at_most(folder / APART, MAX_CONFIG_BYTES)
            file = read_model(source, path, folder=folder.name, apart=apart)
            if file.loaded.spec is None or file.loaded.problems:
                return Side(path, file, {})
            return Side(path, file, measure(file.loaded.spec, self.reference))
        except KvcalcError as error:
            problems = (Problem("KV402", path, 0, 0, "", error.message),)
        return Side(path, ModelFile(Loaded(path, None, problems, lambda _: (1, 1)), None), {})
