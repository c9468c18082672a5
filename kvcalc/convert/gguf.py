"""GGUF headers, versions 2 and 3: key-values and tensor infos, from one file or from its splits.

A header is little (or, from version 3, big) endian: the magic ``GGUF``, a uint32 version, uint64
counts of tensors and of key-values, the key-values, the tensor infos (name, dimensions innermost
first, type, offset), padding; then the tensors' data, which is never read. Source: ggml docs/gguf.md
and src/gguf.cpp; block sizes: ggml-common.h and ggml.c (type_traits).

Why not the ``gguf`` package (0.19.0), measured: it brings numpy, requests, tqdm and pyyaml, 82 MB in
a fresh environment, and takes twice this reader's time to be imported alone; it maps the tensors'
data, so it fails on a partial download ("cannot reshape array of size 0"), whose header is all that
is needed here; and a header that promises an array of 2^40 numbers keeps it busy for 20 s and 3 GB
before it fails. It is the oracle of the tests instead.

Everything is bounded: a header by ``MAX_HEADER_BYTES``, the numbers of keys, tensors and strings by
what the largest real files have, several times over; and data offsets must follow each other without
gaps or overlaps, as ggml demands, so a file cannot lie about its size.
"""

import os
import re
import struct
from collections.abc import Iterator
from itertools import repeat
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from kvcalc.convert.stored import StoredTensor, wrong_file
from kvcalc.errors import FileError, SpecError, UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.reading import open_regular, unreadable

MAGIC = b"GGUF"
VERSIONS = (2, 3)

# The largest real headers (a vocabulary of 262,144 with its merges) are under 20 MB.
MAX_HEADER_BYTES = 1 << 26
# What is read at once. Pieces that grow with what was read would copy it and take new memory.
_PIECE_BYTES = 1 << 16
MAX_KEYS = 1 << 14
MAX_TENSORS = 1 << 16
MAX_STRINGS = 1 << 21
MAX_NAME_BYTES = 1 << 10
MAX_SPLITS = 1 << 10
# Longer texts and arrays are licences, templates and vocabularies: counted, not kept.
MAX_TEXT_BYTES = 1 << 12
MAX_KEPT_ITEMS = 1 << 13
# All arrays together: those that say something have a number for each layer.
MAX_ALL_ITEMS = 1 << 18
MAX_DIMENSIONS = 4

# ggml type -> (name as llama.cpp prints it, elements of a block, bytes of a block).
TYPES: dict[int, tuple[str, int, int]] = {
    0: ("f32", 1, 4), 1: ("f16", 1, 2), 30: ("bf16", 1, 2), 28: ("f64", 1, 8),
    24: ("i8", 1, 1), 25: ("i16", 1, 2), 26: ("i32", 1, 4), 27: ("i64", 1, 8),
    2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20), 6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34), 9: ("q8_1", 32, 36),
    10: ("q2_K", 256, 84), 11: ("q3_K", 256, 110), 12: ("q4_K", 256, 144),
    13: ("q5_K", 256, 176), 14: ("q6_K", 256, 210), 15: ("q8_K", 256, 292),
    16: ("iq2_xxs", 256, 66), 17: ("iq2_xs", 256, 74), 22: ("iq2_s", 256, 82),
    18: ("iq3_xxs", 256, 98), 21: ("iq3_s", 256, 110),
    19: ("iq1_s", 256, 50), 29: ("iq1_m", 256, 56),
    20: ("iq4_nl", 32, 18), 23: ("iq4_xs", 256, 136),
    34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17), 40: ("nvfp4", 64, 36), 41: ("q1_0", 128, 18), 42: ("q2_0", 64, 18),
}  # fmt: skip
# Types that ggml once had; no reader of today knows their layout.
REMOVED = {4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8",
           36: "iq4_nl_4_4", 37: "iq4_nl_4_8", 38: "iq4_nl_8_8"}  # fmt: skip

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_STRING, _ARRAY = 8, 9


@frozen
class Items:
    """An array of a header. values: its numbers; None for texts and for more than MAX_KEPT_ITEMS."""

    count: int
    values: tuple[int | float | bool, ...] | None = None


Value = int | float | bool | str | Items


@frozen(kw_only=True)
class GgufHeader:
    """What the header of one model says, its splits put together.

    values: key -> value. tensors: in the order of the files, shapes outermost axis first.
    total_bytes: what the whole files would have. present_bytes: what they have.
    """

    path: str
    version: int
    values: dict[str, Value]
    tensors: tuple[StoredTensor, ...]
    total_bytes: int
    present_bytes: int

    @property
    def is_partial(self) -> bool:
        """The header is whole and tensor data is missing: a download that stopped."""
        return self.present_bytes < self.total_bytes


def read_gguf(path: str | Path) -> GgufHeader:
    """Read the header of a GGUF file and, where it is split, of all its parts.

    Raises FileError when there is nothing to read, SpecError for a header that is cut off or lies,
    UnsupportedError for versions and tensor types that kvcalc does not know.
    """
    first = _read_one(Path(path))
    count = first.values.get("split.count", 0)
    if not isinstance(count, int) or count in (0, 1):
        return first
    return _join(Path(path), first, count)


# ---------------------------------------------------------------- splits


def _join(path: Path, first: GgufHeader, count: int) -> GgufHeader:
    """The header of all splits: keys of the first, tensors of all."""
    shown = str(path)
    if count > MAX_SPLITS or count < 0:
        raise _bad(shown, f"split.count {count} is out of range (at most {MAX_SPLITS})")
    name = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if name is None or int(name[3]) != count:
        wanted = f"NAME-00001-of-{count:05}.gguf"
        raise _bad(shown, f"split.count says {count} parts, so it has to be named {wanted}")
    parts: list[GgufHeader] = []
    files: dict[tuple[int, int], str] = {}
    missing = []
    for number in range(1, count + 1):
        part = path.with_name(f"{name[1]}-{number:05}-of-{count:05}.gguf")
        try:
            status = os.stat(part)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                missing.append(part.name)
                continue
            raise unreadable(part, error) from None
        twin = files.setdefault((status.st_dev, status.st_ino), part.name)
        if twin != part.name:
            raise _bad(str(part), f"the same file as {twin}: a split cannot hold itself")
        parts.append(_read_one(part))
        index = parts[-1].values.get("split.no")
        if index != number - 1:
            raise _bad(str(part), f"split.no is {index}, and its name says {number - 1}")
        if parts[-1].values.get("split.count") != count:
            raise _bad(str(part), "its split.count is not that of the other parts")
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileError(f"{shown}: missing parts of the split: {', '.join(missing[:3])}{more}")
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    _unique(shown, tensors)
    promised = parts[0].values.get("split.tensors.count", len(tensors))
    if promised != len(tensors):
        raise _bad(shown, f"split.tensors.count is {promised}, and the parts hold {len(tensors)}")
    return GgufHeader(
        path=shown, version=first.version, values=parts[0].values, tensors=tensors,
        total_bytes=sum(part.total_bytes for part in parts),
        present_bytes=sum(part.present_bytes for part in parts),
    )  # fmt: skip


def _unique(path: str, tensors: tuple[StoredTensor, ...]) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise _bad(path, f"the tensor {tensor.name} is there twice")
        seen.add(tensor.name)


def _bad(path: str, message: str) -> SpecError:
    return wrong_file(path, f"not a sound GGUF file: {message}")


# ---------------------------------------------------------------- one file


def _read_one(path: Path) -> GgufHeader:
    with open_regular(path) as (file, size):
        return _Reader(str(path), file, size).header()


class _Reader:
    """A header, read from the front in pieces and hardly further than it goes."""

    def __init__(self, path: str, file: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self._file = file
        self._data = bytearray()
        self._at = 0
        self._strings = 0
        self._kept = 0
        self._order = "<"
        self.what = "the first bytes"

    # ------------------------------------------------------------ bytes

    def _take(self, count: int) -> int:
        """Make sure that ``count`` bytes stand at the cursor, pass them, return where they began."""
        start = self._at
        end = start + count
        if end > len(self._data):
            self._grow(end)
        self._at = end
        return start

    def _grow(self, end: int) -> None:
        if end > self.size:
            raise _bad(
                self.path,
                f"the file ends after {self.size} bytes, inside {self.what}"
                + (f", which would end at byte {end}" if end < 1 << 62 else ""),
            )
        if end > MAX_HEADER_BYTES:
            raise _bad(self.path, f"a header of more than {MAX_HEADER_BYTES} bytes, at {self.what}")
        want = min(max(end, len(self._data) + _PIECE_BYTES), self.size, MAX_HEADER_BYTES)
        try:
            self._data += self._file.read(want - len(self._data))
        except OSError as error:
            raise unreadable(Path(self.path), error) from None
        if end > len(self._data):
            raise _bad(
                self.path, f"the file ends after {len(self._data)} bytes, inside {self.what}"
            )

    def _number(self, code: str) -> Any:
        start = self._take(struct.calcsize(code))
        return struct.unpack_from(self._order + code, self._data, start)[0]

    def _name(self) -> str:
        length = self._number("Q")
        if length > MAX_NAME_BYTES:
            raise _bad(self.path, f"{self.what} has a name of {length} bytes")
        return self._text(length)

    def _text(self, length: int) -> str:
        start = self._take(length)
        try:
            return self._data[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            raise _bad(self.path, f"{self.what} has a text that is not UTF-8") from None

    # ------------------------------------------------------------ the header

    def header(self) -> GgufHeader:
        start = self._take(4)
        magic = self._data[start : start + 4]
        if magic != MAGIC:
            shown = magic.decode("ascii", "backslashreplace")
            raise _bad(self.path, f"it begins with '{shown}', not with 'GGUF'")
        version = self._number("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            if swapped not in VERSIONS:
                raise UnsupportedError(
                    f"{self.path}: GGUF version {version}; kvcalc reads versions 2 and 3"
                )
            version, self._order = swapped, ">"
        num_tensors, num_keys = self._number("Q"), self._number("Q")
        if num_tensors > MAX_TENSORS:
            raise _bad(self.path, f"it promises {num_tensors} tensors (at most {MAX_TENSORS})")
        if num_keys > MAX_KEYS:
            raise _bad(self.path, f"it promises {num_keys} keys (at most {MAX_KEYS})")
        values = dict(self._keys(num_keys))
        alignment = values.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or not 0 < alignment <= 1 << 20
            or (alignment & (alignment - 1))
        ):
            raise _bad(self.path, f"general.alignment {alignment} is no power of two up to 2^20")
        tensors, data_bytes = self._tensors(num_tensors, alignment)
        start = -(-self._at // alignment) * alignment
        total = start + data_bytes if data_bytes else self._at
        return GgufHeader(
            path=self.path, version=version, values=values, tensors=tensors,
            total_bytes=total, present_bytes=min(self.size, total),
        )  # fmt: skip

    def _keys(self, count: int) -> Iterator[tuple[str, Value]]:
        seen: set[str] = set()
        for index in range(count):
            self.what = f"key {index + 1} of {count}"
            key = self._name()
            self.what = f"the value of '{key}'"
            if key in seen:
                raise _bad(self.path, f"the key '{key}' is there twice")
            seen.add(key)
            yield key, self._value(self._number("I"))

    def _value(self, kind: int) -> Value:
        if kind in _SCALARS:
            value: Value = self._number(_SCALARS[kind])
            return value
        if kind == _STRING:
            length = self._number("Q")
            if length <= MAX_TEXT_BYTES:
                return self._text(length)
            self._take(length)
            return Items(length)
        if kind == _ARRAY:
            return self._array(self._number("I"), self._number("Q"))
        raise _bad(self.path, f"{self.what} has type {kind}, which GGUF does not have")

    def _array(self, kind: int, count: int) -> Items:
        if kind == _STRING:
            self._skip_strings(count)
            return Items(count)
        if kind not in _SCALARS:
            raise _bad(self.path, f"{self.what} is an array of type {kind}")
        code = _SCALARS[kind]
        start = self._take(struct.calcsize(code) * count)
        if count > MAX_KEPT_ITEMS:
            return Items(count)
        self._kept += count
        if self._kept > MAX_ALL_ITEMS:
            raise _bad(self.path, f"more than {MAX_ALL_ITEMS} numbers in short arrays")
        return Items(count, struct.unpack_from(f"{self._order}{count}{code}", self._data, start))

    def _skip_strings(self, count: int) -> None:
        self._strings += count
        if self._strings > MAX_STRINGS:
            raise _bad(self.path, f"{self.what} is an array of {count} texts")
        unpack = struct.Struct(self._order + "Q").unpack_from
        at, data, steps = self._at, self._data, repeat(None, count)
        while True:
            # A vocabulary has 150,000 of them: nothing but the length is looked at, until data run out.
            try:
                for _ in steps:
                    at += 8 + unpack(data, at)[0]
                break
            except (struct.error, OverflowError, IndexError):
                self._at = at
                self._grow(at + 8)
                data = self._data
                at += 8 + unpack(data, at)[0]
        if at > len(self._data):
            self._grow(at)
        self._at = at

    def _tensors(self, count: int, alignment: int) -> tuple[tuple[StoredTensor, ...], int]:
        """The tensor infos, and the bytes that their data takes with its padding."""
        tensors = []
        end = last = 0
        for index in range(count):
            self.what = f"tensor {index + 1} of {count}"
            name = self._name()
            self.what = f"the info of tensor '{name}'"
            num_dimensions = self._number("I")
            if not 1 <= num_dimensions <= MAX_DIMENSIONS:
                raise _bad(self.path, f"'{name}' has {num_dimensions} dimensions")
            dimensions = [self._number("Q") for _ in range(num_dimensions)]
            kind, offset = self._number("I"), self._number("Q")
            if prod(dimensions) >= 1 << 63 or not all(dimensions):
                raise _bad(self.path, f"'{name}' has the shape {dimensions}")
            if kind not in TYPES:
                former = f" ({REMOVED[kind]}, which ggml has removed)" if kind in REMOVED else ""
                raise UnsupportedError(
                    f"{self.path}: '{name}' is of ggml type {kind}{former}, whose size is not known"
                )
            dtype, block_elements, block_bytes = TYPES[kind]
            if dimensions[0] % block_elements:
                raise _bad(
                    self.path,
                    f"'{name}' has rows of {dimensions[0]} in blocks of {block_elements} ({dtype})",
                )
            if offset != end:
                raise _bad(
                    self.path, f"'{name}' is said to lie at {offset}, and it follows at {end}"
                )
            num_bytes = prod(dimensions) // block_elements * block_bytes
            last = end + num_bytes
            end = -(-last // alignment) * alignment
            tensors.append(StoredTensor(name, tuple(reversed(dimensions)), dtype, num_bytes))
        if end >= 1 << 63:
            raise _bad(self.path, f"its tensors would take {end} bytes")
        found = tuple(tensors)
        _unique(self.path, found)
        return found, last
