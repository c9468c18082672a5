"""Files that want the loader to hang, to blow up or to print: an error each, soon, in little memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from kvcalc.errors import FileError, NotFoundError, SpecError
from kvcalc.spec.loader import load_spec_file, read_spec
from kvcalc.spec.reader import MAX_FILE_BYTES, MAX_PROBLEMS

pytestmark = pytest.mark.slow

FULL = MAX_FILE_BYTES
LETTERS = "abcdefghij"


def bomb(separator: str, first: str) -> str:
    """Ten levels of ten aliases each."""
    lines = [f"a: &a [{', '.join(['x'] * 10)}]"]
    for before, name in pairwise(LETTERS):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    return separator.join([first, *lines]) + "\n"


def merges() -> str:
    many = "".join(f"k{i}: 1, " for i in range(8000))
    return f"blocks:\n a: &a {{{many}}}\n b: {{<<: [{'*a,' * 20000}]}}\n"


HOSTILE: dict[str, Callable[[], str]] = {
    "alias bomb of unknown keys": lambda: bomb("\n", "name: x"),
    "alias bomb in a list": lambda: bomb("\n", "name: x").replace("j: &j", "notes: &j"),
    "alias bomb of blocks": lambda: (
        "blocks: &a {b: {attention: {kind: mha}}}\n"
        + "".join(f"l{i}: &b{i} {{<<: [*a, *a, *a]}}\n" for i in range(9000))
    ),
    "merge bomb": merges,
    "many merges of merges": lambda: (
        "a: &a0 {x: 1}\n" + "".join(f"b{i}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}\n" for i in range(40))
    ),
    "flow sequences": lambda: "[" * FULL,
    "flow mappings": lambda: "{a: " * (FULL // 4),
    "flow pairs": lambda: "[{" * (FULL // 2),
    "flow under every bracket count": lambda: "a: " + "[" * 239 + "]" * 239,
    "many flows of depth 60": lambda: "- " + "\n- ".join(["[" * 59 + "]" * 59] * 2000),
    "compact sequences": lambda: "- " * (FULL // 2),
    "compact keys": lambda: "? " * (FULL // 2),
    "compact mixtures": lambda: "? - " * (FULL // 4),
    "compact with tabs": lambda: "-\t" * (FULL // 2),
    "two to a line": lambda: "".join(" " * 4 * i + "- -\n" for i in range(350)),
    "steep block": lambda: "".join(" " * i + "a:\n" for i in range(700)),
    "steep sequences": lambda: "".join(" " * i + "-\n" for i in range(700)),
    "steep keys": lambda: "".join(" " * i + "?\n" for i in range(700)),
    "sequences at their keys' indent": lambda: "".join(
        " " * 2 * i + "a:\n" + " " * 2 * i + "-\n" for i in range(350)
    ),
    "anchors on the way down": lambda: "".join(" " * 2 * i + f"- &a{i}\n" for i in range(480)),
    "empty items": lambda: "-\n" * (FULL // 2),
    "empty mappings": lambda: "layers: [" + "{}," * (FULL // 3 - 5) + "]",
    "one key very often": lambda: "a:\n" * (FULL // 3),
    "very many keys": lambda: "".join(f"k{i}:\n" for i in range(FULL // 8)),
    "very many blocks": lambda: "blocks:\n" + "".join(f" b{i}: {{z: 1}}\n" for i in range(16000)),
    "very many names": lambda: (
        "layers: [" + "{blocks: [abcdefgh]}, " * 5000 + "]\nblocks: {abcdefgi: {norms: 1}}\n"
    ),
    "a long key": lambda: "? " + "k" * (FULL - 20) + "\n: 1\n",
    "a long value": lambda: "name: " + "v" * (FULL - 20) + "\n",
    "a long number": lambda: "hidden_size: " + "9" * (FULL - 20) + "\n",
    "a long share": lambda: "recursion: {depths: [" + "9" * 5000 + "]}\n",
    "a long size": lambda: "budgets: [{cache: " + "9" * 5000 + ", context: " + "8" * 5000 + "}]\n",
    "a long kind": lambda: "blocks: {a: {attention: {kind: " + "g" * (FULL - 60) + "}}}\n",
    "a long block name": lambda: (
        "blocks:\n  ? " + "b" * (FULL // 2) + "\n  : {ffn: {"
        + "".join(f"u{i}: 1, " for i in range(9000)) + "}}\n"
    ),
    "a long tag": lambda: "name: !" + "t" * (FULL - 20) + " x\n",
    "a long pattern": lambda: "layers: [{pattern: " + "ab" * (FULL // 2 - 40) + "}]\n",
    "a long comment": lambda: "#" * (FULL - 1),
    "spaces": lambda: "- " + " " * (FULL - 3),
    "escapes": lambda: 'name: "' + "\\u0041" * (FULL // 6 - 10) + '"\n',
    "control characters": lambda: "name: \x1b[2J\n",
    "escaped control characters": lambda: 'name: "\\e[2J"\n"\\e[2J": 1\n',
    "a surrogate": lambda: "name: \ud800\n",
    "directives": lambda: "%YAML 9.9\n---\nname: x\n",
    "many tag directives": lambda: "".join(f"%TAG !a{i}! tag:b,2000:\n" for i in range(2000)),
    "a cycle of two anchors": lambda: "blocks: &a {x: {ffn: &b {y: *a}, attention: *b}}\n",
    "a mapping that merges itself": lambda: "blocks: &a {<<: *a}\n",
    "a mapping that is its own key": lambda: "&a ? *a\n: 1\n",
    "a python object": lambda: "name: !!python/object/apply:os.system [exit]\n",
    "a tagged key": lambda: "!!python/name:os.system name: x\n",
    "a set": lambda: "blocks: !!set {a, b}\n",
    "a list of everything": lambda: "- name: x\n",
    "a word": lambda: "name\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_text_ends_in_problems_that_print(name: str) -> None:
    loaded = read_spec(HOSTILE[name]())
    assert loaded.spec is None
    assert 1 <= len(loaded.problems) <= MAX_PROBLEMS + 1
    for problem in loaded.problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000


# Loads each in turn, and says what it took: seconds of CPU, and the process's own peak of memory
# (VmHWM; ru_maxrss would begin with the peak of the process that started this one).
_PROGRAM = """
import re, sys, time
from pathlib import Path
from tests.spec.test_hostile_files import HOSTILE
from kvcalc.spec.loader import read_spec
for name in sys.argv[1:]:
    text = HOSTILE[name]()
    start = time.process_time()
    read_spec(text)
    assert time.process_time() - start < 2, name
    peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
    assert int(peak[1]) < 200 * 1024, name
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_none_takes_two_seconds_or_200_megabytes() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *HOSTILE], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def problems_of(path: Path) -> list[tuple[str, int, int, str]]:
    with pytest.raises(SpecError) as caught:
        load_spec_file(path)
    return [(p.code, p.line, p.column, p.message) for p in caught.value.problems]


def test_a_hundred_megabytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert problems_of(path) == [("KV101", 0, 0, "larger than 262144 bytes: not a spec")]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


@pytest.mark.parametrize(
    ("data", "line", "column", "message"),
    [
        (b"name: caf\xe9\n", 1, 10, "not UTF-8 (byte 0xe9)"),
        (b"name: x\nsource: \xff\n", 2, 9, "not UTF-8 (byte 0xff)"),
        ("name: x\n".encode("utf-16"), 1, 1, "not UTF-8 (byte 0xff)"),
        (b"GGUF\x03\x00\x00\x00", 1, 5, "not YAML: the character U+0003 may not stand in it"),
        (b"\x00" * 1000, 1, 1, "not YAML: the character U+0000 may not stand in it"),
        (b"a: 1\n\x7f", 2, 1, "not YAML: the character U+007F may not stand in it"),
        (b"", 1, 1, "a spec is a mapping of keys to values"),
    ],
)  # fmt: skip
def test_what_is_no_text(
    tmp_path: Path, data: bytes, line: int, column: int, message: str
) -> None:  # fmt: skip
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    assert problems_of(path) == [("KV101", line, column, message)]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: 1\n")
    assert problems_of(path)[-1][1:3] == (1, 7)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a directory, not a spec"):
        load_spec_file(tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        load_spec_file(tmp_path / "none.yaml")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: x\n")
    path.chmod(0)
    with pytest.raises(FileError, match=r"cannot read .*: Permission denied"):
        load_spec_file(path)


@pytest.mark.skipif(sys.platform != "linux", reason="a file that even root cannot read")
def test_a_file_that_fails_while_it_is_read() -> None:
    with pytest.raises(FileError, match=r"cannot read .*: Input/output error"):
        load_spec_file(Path("/proc/self/mem"))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_an_impossible_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match="cannot read"):
        load_spec_file(tmp_path / name)
