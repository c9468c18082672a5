"""What git knows about the specs of a working tree: the base, its files, their old text.

Plumbing with NUL-separated output throughout, because a path may hold anything else. No command
writes: the index is not refreshed, nothing is fetched, no external diff or text conversion runs.
What differs is not asked of git, whose index may be told to lie: see ``kvcalc.checks.changed``.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from kvcalc.errors import FileError, NotFoundError, UsageError
from kvcalc.frozen import frozen

_SAFE = ("--no-optional-locks", "--no-replace-objects", "--literal-pathspecs")
SUBMODULE = "160000"
LINK = "120000"
# The line that fixes a shallow clone; it is what actions/checkout makes unless told otherwise.
_UNSHALLOW = (
    "GitHub Actions: actions/checkout with 'fetch-depth: 0'; elsewhere: git fetch --unshallow"
)


@frozen
class Entry:
    """What a commit has at a path: git's mode, the object, the bytes of it (0 of a submodule)."""

    mode: str
    object: str
    num_bytes: int


@frozen
class Base:
    """The commit that a working tree is compared with, and what was said to find it."""

    commit: str
    notes: tuple[str, ...] = ()


@frozen
class Repository:
    """A git working tree. Paths are relative to its root, with forward slashes."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> "Repository":
        """The repository that a folder is in. Raises UsageError when it is in none."""
        done = _run(("git", "rev-parse", "--show-toplevel"), folder)
        if done.returncode == 0:
            return cls(Path(os.fsdecode(done.stdout).removesuffix("\n")))
        reason = done.stderr.decode("utf-8", "replace").strip()
        if "not a git repository" in reason:
            raise UsageError(f"{folder} is not in a git repository, so there is no base to compare")
        if "must be run in a work tree" in reason:
            raise UsageError(
                f"{folder} is a bare repository and holds no files to compare: 'git worktree add'"
            )
        raise UsageError(f"{folder}: {reason}")

    def base(self, revision: str, merge_base: bool = True) -> Base:
        """The commit to compare with: where this branch left ``revision``, or ``revision`` itself.

        Raises UsageError when git has no such commit, naming what brings it.
        """
        commit = self._commit(revision)
        if commit is None:
            raise UsageError(self._no_such(revision))
        if not merge_base or self._commit("HEAD") is None:
            return Base(commit)
        common = self._git("merge-base", commit, "HEAD", statuses=(0, 1)).decode().strip()
        if not common:
            why = f"; {_UNSHALLOW}" if self._is_shallow() else ""
            note = f"compared with {revision} itself, for want of a common ancestor{why}"
            return Base(commit, (note,))
        if common == commit:
            return Base(commit)
        note = (
            f"{revision} has gone on since this branch left it: compared with their common "
            f"ancestor {common[:12]} (--no-merge-base compares with {revision} itself)"
        )
        return Base(common, (note,))

    def entries(self, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
        """Every file, link and submodule of a commit at or below ``paths``; of all, for none."""
        below = () if "." in (paths := tuple(paths)) else paths
        listed = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", *below)
        found = {}
        for line in listed.split(b"\0"):
            facts, _, name = line.partition(b"\t")
            if name:
                mode, _, named, num_bytes = facts.decode().split()
                size = int(num_bytes) if num_bytes.isdigit() else 0
                found[os.fsdecode(name)] = Entry(mode, named, size)
        return found

    def present(self, paths: Iterable[str]) -> list[str]:
        """Paths of the working tree at or below ``paths``: what the index lists, and what is neither
        listed nor ignored. Whether there is still something at a path is not said.
        """
        listed = self._git(
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name", "--",
            *paths,
        )  # fmt: skip
        return [os.fsdecode(name) for name in listed.split(b"\0") if name]

    def behind(self, commit: str, links: Iterable[str]) -> dict[str, str]:
        """The objects that links of a commit lead to within it; those that lead nowhere left out."""
        # git takes a line for each, so a name with a line break in it cannot be asked for.
        names = [link for link in links if "\n" not in link]
        if not names:
            return {}
        asked = b"".join(os.fsencode(f"{commit}:{name}\n") for name in names)
        done = _run(
            ("git", *_SAFE, "cat-file", "--batch-check", "--follow-symlinks"), self.root, asked
        )
        found, rest = {}, done.stdout
        for name in names:
            line, _, rest = rest.partition(b"\n")
            words = line.split(b" ")
            if len(words) == 2 and words[0] in (b"symlink", b"dangling", b"loop", b"notdir"):
                # The path that could not be followed: so many bytes and a line's end.
                rest = rest[int(words[1]) + 1 :]
            elif len(words) == 3 and words[1] == b"blob":
                found[name] = words[0].decode()
        return found

    def moved_submodules(self, commit: str, paths: Iterable[str]) -> list[str]:
        """Those of these submodules that stand at another commit than in ``commit``."""
        if not (paths := tuple(paths)):
            return []
        raw = self._git(
            "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv",
            "--ignore-submodules=dirty", "--diff-filter=M", commit, "--", *paths,
        )  # fmt: skip
        return [os.fsdecode(name) for name in raw.split(b"\0") if name]

    def files(self, commit: str, path: str) -> list[str]:
        """Every file of a commit at or below a path."""
        below = () if path == "." else (path,)
        listed = self._git(
            "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", *below
        )
        return [os.fsdecode(name) for name in listed.split(b"\0") if name]

    def texts(self, objects: Iterable[str], limit: int) -> Iterator[bytes]:
        """The contents of objects, in order, each cut after ``limit`` + 1 bytes."""
        names = list(objects)
        if not names:
            return
        with subprocess.Popen(
            ("git", *_SAFE, "cat-file", "--batch"), cwd=self.root,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            for name in names:
                process.stdin.write(f"{name}\n".encode())
                process.stdin.flush()
                header = process.stdout.readline().split()
                if len(header) != 3 or header[1] != b"blob":
                    raise FileError(f"git has no object {name}: try git fsck, or git fetch")
                size = int(header[2])
                yield process.stdout.read(min(size, limit + 1))
                rest = size - min(size, limit + 1)
                while rest > 0:
                    rest -= len(process.stdout.read(min(rest, 1 << 20)))
                process.stdout.read(1)
            process.stdin.close()

    def _commit(self, revision: str) -> str | None:
        if revision.startswith("-"):
            raise UsageError(f"'{revision}' is an option, not a revision")
        named = f"{revision}^{{commit}}"
        done = _run(("git", *_SAFE, "rev-parse", "--verify", "--quiet", named), self.root)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def _is_shallow(self) -> bool:
        return self._git("rev-parse", "--is-shallow-repository").strip() == b"true"

    def _no_such(self, revision: str) -> str:
        """Why there is no such revision, and the line that fixes it."""
        if self._is_shallow():
            return (
                f"this clone is shallow and does not hold '{revision}'; "
                f"{_UNSHALLOW}{self._fetch(revision)}"
            )
        if not self._git("for-each-ref", "--count=1"):
            return f"no revision '{revision}' in {self.root}, which has no commit yet"
        from kvcalc.spec.words import near

        listed = self._git("for-each-ref", "--format=%(refname:short)").decode("utf-8", "replace")
        hint = near(revision, listed.split()[:100])
        fetch = self._fetch(revision)
        if fetch:
            hint += f"\n  if the remote has it: git fetch{fetch}"
        return f"no revision '{revision}' in {self.root}{hint}"

    def _fetch(self, revision: str) -> str:
        """What brings a remote's branch: `` origin main:refs/remotes/origin/main``."""
        remotes = self._git("remote").decode("utf-8", "replace").split()
        remote, _, branch = revision.partition("/")
        if remote in remotes and re.fullmatch(r"[\w./-]+", branch):
            return f" {remote} {branch}:refs/remotes/{remote}/{branch}"
        return ""

    def _git(self, *arguments: str, statuses: tuple[int, ...] = (0,)) -> bytes:
        done = _run(("git", *_SAFE, *arguments), self.root)
        if done.returncode not in statuses:
            reason = done.stderr.decode("utf-8", "replace").strip()
            raise FileError(f"git {arguments[0]} failed: {reason}")
        return done.stdout


def _run(
    command: tuple[str, ...], folder: Path, given: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    # The words of errors are looked at, so they have to be git's own.
    environment = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, input=given, check=False
        )
    except FileNotFoundError:
        raise NotFoundError("git is not installed, or not on the PATH") from None
