"""GGUF files that want to hurt: lying headers, a gigabyte of nothing, bytes at random."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc.convert.gguf import read_gguf
from kvcalc.convert.gguf_model import load_gguf
from kvcalc.errors import FileError, KvcalcError, NotFoundError, SpecError
from tests.convert.costs import answered_soon, linux, refused_cheaply
from tests.convert.gguf_files import SMALL, SMALL_TENSORS, small
from tests.drawn import examples

pytestmark = pytest.mark.slow


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(num_tensors: int, num_keys: int, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys) + body


ARCHITECTURE = text("general.architecture") + struct.pack("<I", 8) + text("llama")

HOSTILE = {
    "empty": (b"", "the file ends after 0 bytes"),
    "magic": (b"PK\x03\x04" + bytes(100), "it begins with 'PK"),
    "version 1": (header(0, 0, version=1), "GGUF version 1"),
    "cut in the counts": (header(0, 0)[:12], "the file ends after 12 bytes"),
    "2^60 tensors": (header(1 << 60, 1, ARCHITECTURE), "promises 1152921504606846976 tensors"),
    "2^60 keys": (header(1, 1 << 60), "promises 1152921504606846976 keys"),
    "name past the end": (header(0, 1, struct.pack("<Q", 1000)), "inside key 1 of 1"),
    "name of 2^63": (header(0, 1, struct.pack("<Q", 1 << 63)), "a name of 9223372036854775808"),
    "text past the end": (
        header(0, 1, text("general.name") + struct.pack("<IQ", 8, 1 << 62)),
        "inside the value of 'general.name'",
    ),
    "array past the end": (
        header(0, 1, text("a.b") + struct.pack("<IIQ", 9, 6, 1 << 61)), "inside the value of 'a.b'"
    ),
    "texts past the end": (
        header(0, 1, text("a.b") + struct.pack("<IIQ", 9, 8, 1 << 20) + bytes(64)), "inside"
    ),
    "2^40 texts": (header(0, 1, text("a.b") + struct.pack("<IIQ", 9, 8, 1 << 40)), "array of 1099"),
    "array of arrays": (header(0, 1, text("a.b") + struct.pack("<IIQ", 9, 9, 1)), "array of type 9"),
    "no such type": (header(0, 1, text("a.b") + struct.pack("<I", 77)), "has type 77"),
    "key twice": (header(0, 2, 2 * ARCHITECTURE), "is there twice"),
    "not UTF-8": (
        header(0, 1, text("a.b") + struct.pack("<IQ", 8, 2) + b"\xff\xfe"), "not UTF-8"
    ),
    "alignment": (
        header(0, 1, text("general.alignment") + struct.pack("<II", 4, 33)), "no power of two"
    ),
    "no architecture": (header(0, 0), "general.architecture is missing"),
}  # fmt: skip


def tensor(name: str, *dimensions: int, kind: int = 0, offset: int = 0) -> bytes:
    sizes = b"".join(struct.pack("<Q", size) for size in dimensions)
    return (
        text(name) + struct.pack("<I", len(dimensions)) + sizes + struct.pack("<IQ", kind, offset)
    )


BROKEN_TENSORS = {
    "no axes": (tensor("x"), "has 0 dimensions"),
    "many axes": (text("x") + struct.pack("<I", 1 << 31), "has 2147483648 dimensions"),
    "2^70 elements": (tensor("x", 1 << 40, 1 << 30), "has the shape"),
    "no elements": (tensor("x", 0), "has the shape"),
    "half a block": (tensor("x", 33, kind=8), "rows of 33 in blocks of 32"),
    "type": (tensor("x", 32, kind=999), "ggml type 999"),
    "removed type": (tensor("x", 32, kind=31), "q4_0_4_4, which ggml has removed"),
    "offset": (tensor("x", 32, offset=64), "is said to lie at 64"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers(tmp_path: Path, case: str) -> None:
    data, message = HOSTILE[case]
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(KvcalcError) as caught:
        load_gguf(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("case", BROKEN_TENSORS)
def test_hostile_tensors(tmp_path: Path, case: str) -> None:
    data, message = BROKEN_TENSORS[case]
    path = tmp_path / "x.gguf"
    path.write_bytes(header(1, 1, ARCHITECTURE + data))
    with pytest.raises(KvcalcError) as caught:
        load_gguf(path)
    assert message in caught.value.message


def test_overlapping_and_doubled_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(header(2, 1, ARCHITECTURE + tensor("x", 32) + tensor("y", 32, offset=64)))
    with pytest.raises(SpecError, match="'y' is said to lie at 64, and it follows at 128"):
        read_gguf(path)
    path.write_bytes(header(2, 1, ARCHITECTURE + tensor("x", 32) + tensor("x", 32, offset=128)))
    with pytest.raises(SpecError, match="the tensor x is there twice"):
        read_gguf(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        load_gguf(tmp_path / "none.gguf")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        load_gguf(tmp_path / "folder.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(FileError, match="not a regular file"):
        load_gguf(tmp_path / "pipe.gguf")
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    with pytest.raises(FileError, match="cannot read"):
        load_gguf(tmp_path / "loop.gguf")


def large(case: str, path: Path) -> None:
    """A gigabyte that costs nothing to write, behind a header that asks to read much of it."""
    body = {
        "texts": text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 1 << 21),
        "long text": text("general.name") + struct.pack("<IQ", 8, 900_000_000),
        "numbers": text("a.b") + struct.pack("<IIQ", 9, 4, 200_000_000),
        "many tensors": ARCHITECTURE,
        "many keys": b"",
    }[case]
    count = {"many keys": 1 << 14}.get(case, 1)
    tensors = 1 << 16 if case == "many tensors" else 0
    data = header(tensors, count, body)
    if case == "many tensors":
        data += b"".join(tensor(f"blk.{i % 4096}.x{i}", 1, offset=32 * i) for i in range(tensors))
    if case == "many keys":
        data += b"".join(text(f"llama.k{i}") + struct.pack("<II", 4, i) for i in range(count))
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(1 << 30)


@linux
@pytest.mark.parametrize("case", ["texts", "long text", "numbers", "many tensors", "many keys"])
def test_a_gigabyte_costs_little(tmp_path: Path, case: str) -> None:
    path = tmp_path / "large.gguf"
    large(case, path)
    refused_cheaply(path)


# ---------------------------------------------------------------- fuzzing

_SEED = (
    header(1, 3, ARCHITECTURE
           + text("llama.block_count") + struct.pack("<II", 4, 1)
           + text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
           + tensor("token_embd.weight", 32, 4, kind=8))
)  # fmt: skip


def _only_expected(path: Path, data: bytes) -> None:
    """A model or an error that kvcalc raises on purpose, soon."""
    path.write_bytes(data)
    answered_soon(lambda: load_gguf(path))


@settings(max_examples=examples(75), deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, len(_SEED) - 1), st.integers(0, 255)), max_size=12),
       end=st.integers(0, len(_SEED)))  # fmt: skip
def test_fuzz_changed_bytes(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], end: int
) -> None:
    data = bytearray(_SEED)
    for place, value in edits:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.gguf"
    _only_expected(path, bytes(data[: end or None]))


@settings(max_examples=examples(40), deadline=None)
@given(body=st.binary(max_size=200), counts=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_fuzz_any_body(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, counts: tuple[int, int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.gguf"
    _only_expected(path, header(*counts, ARCHITECTURE + body))


_VALUES = st.one_of(
    st.integers(0, 2**32 - 1), st.booleans(), st.floats(allow_nan=False, width=32),
    st.text(max_size=8), st.lists(st.integers(0, 9), min_size=1, max_size=4),
)  # fmt: skip


@settings(max_examples=examples(40), deadline=None)
@given(changes=st.dictionaries(st.sampled_from([*SMALL, "llama.expert_count",
                                                "llama.attention.sliding_window",
                                                "llama.attention.key_length"]), _VALUES, max_size=4),
       dropped=st.sampled_from([None, *(name for name, _, _ in SMALL_TENSORS)]))  # fmt: skip
def test_fuzz_keys(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object], dropped: str | None
) -> None:
    folder = tmp_path_factory.getbasetemp()
    changed = {} if dropped is None else {dropped: None}
    _only_expected(folder / "fuzz.gguf", small(folder, changes, **changed).read_bytes())
