"""safetensors headers: names, number formats, shapes and bytes of a checkpoint's tensors.

A file is the length of its header (uint64, little endian), the header (a JSON object: name ->
dtype, shape, data_offsets), and the data, which is never read. Source: the format's description at
huggingface.co/docs/safetensors; the checks are those of the reference reader (safetensors 0.8.0,
tensor.rs): offsets that follow each other without gaps, bytes that are those of dtype and shape.

A checkpoint is one file, or shards that ``model.safetensors.index.json`` or their names
(``model-00001-of-00004.safetensors``) tie together; a hub repository's headers come by range
requests (``hub_tensors``). A mixture of experts has a hundred thousand tensors and a few kinds of them:
those that are alike are put together while a header is read, so that memory grows with the kinds.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from kvcalc.convert.stored import StoredTensor, json_object, wrong_file
from kvcalc.errors import FileError, NotFoundError, SpecError, UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.reading import open_regular, unreadable

INDEX = "model.safetensors.index.json"

# The header of 19,000 tensors (a mixture of experts in one file) takes 2.4 MB; an index of 140,000
# tensors (Kimi-K2) 14 MB.
MAX_HEADER_BYTES = 24 << 20
MAX_INDEX_BYTES = 64 << 20
# What a parser makes of a text is bounded by its commas: six to a tensor.
MAX_COMMAS = 1 << 19
MAX_TENSORS = 1 << 18
MAX_FILES = 1 << 11
MAX_AXES = 16

# dtype -> bits of an element.
BITS: dict[str, int] = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip

_SHARD = re.compile(r"(.+)-(\d{5,6})-of-(\d{5,6})\.safetensors")


@frozen(kw_only=True)
class Checkpoint:
    """The tensors of one checkpoint.

    path: the file or folder. tensors: those that are alike in one. total_bytes: what its files would
    have; present_bytes: what they have.
    """

    path: str
    tensors: tuple[StoredTensor, ...]
    total_bytes: int
    present_bytes: int


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint that a file, any of its shards, its index or a folder stands for.

    None where a folder holds none. Raises FileError for files that are missing or not to be read,
    SpecError for headers that are cut off or lie, UnsupportedError for unknown number formats.
    """
    if path.is_dir():
        names = _in_folder(path)
    elif path.name.endswith(".json"):
        names = _of_index(path)
        path = path.parent
    else:
        names = _with_shards(path)
    if not names:
        return None
    folder = path if path.is_dir() else path.parent
    if len(names) > MAX_FILES:
        raise wrong_file(str(path), f"{len(names)} files of one checkpoint (at most {MAX_FILES})")
    _no_file_twice(folder, names)
    kinds = Kinds()
    total = present = 0
    for name in names:
        should_have, has = _read_header(folder / name, kinds)
        total += should_have
        present += has
        if len(kinds.names) > MAX_TENSORS:
            raise wrong_file(str(path), f"more than {MAX_TENSORS} tensors")
    return Checkpoint(
        path=str(path), tensors=kinds.tensors(), total_bytes=total, present_bytes=present
    )


# ---------------------------------------------------------------- tensors that are alike


# A dtype and the axes of a shape.
Form = tuple[Any, ...]


class Kinds:
    """Tensors as headers list them, those together that differ in the numbers of their names alone.

    names: of all.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._counts: Counter[tuple[str, int, Form]] = Counter()

    def add(self, forms: Mapping[str, Form]) -> None:
        """Count tensors by their names."""
        self.names.update(forms)
        self._counts.update([(*_apart(name), form) for name, form in forms.items()])

    def tensors(self) -> tuple[StoredTensor, ...]:
        """What was added, a kind at a time."""
        return tuple(
            StoredTensor(
                words, shape, dtype, count * (prod(shape) * BITS[dtype] // 8), count, layer
            )
            for (words, layer, (dtype, *axes)), count in self._counts.items()
            for shape in (tuple(axes),)
        )


def _apart(name: str) -> tuple[str, int]:
    """A name's words, N for each number between them; and the number of the layer, -1 for none."""
    parts = _NUMBERS.split(name)
    if len(parts) == 1:
        return name, -1
    words = ".N".join(parts[::2])
    at = _layer_at(words)
    return words, int(parts[at]) if 0 < at < len(parts) and len(parts[at]) < 8 else -1


_NUMBERS = re.compile(r"\.(\d+)(?=\.)")
LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block|albert_layers|decoder_layers)\.N\.")


@lru_cache(4096)
def _layer_at(words: str) -> int:
    """Which part of a name, split at its numbers, is the number of the layer; -1 for none."""
    match = LAYER.search(words)
    return -1 if match is None else 2 * words[: match.end()].split(".").count("N") - 1


# ---------------------------------------------------------------- which files


def _in_folder(folder: Path) -> list[str]:
    """The files of the checkpoint in a folder, the model's own before others."""
    try:
        found = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    except OSError as error:
        raise unreadable(folder, error) from None
    if (folder / INDEX).is_file():
        return _of_index(folder / INDEX)
    if "model.safetensors" in found or len(found) < 2:
        return ["model.safetensors"] if "model.safetensors" in found else found
    for name in (name for name in found if name.startswith("model-")):
        return _with_shards(folder / name)
    heads = {match[1] for name in found if (match := _SHARD.fullmatch(name))}
    if len(heads) == 1 and all(_SHARD.fullmatch(name) for name in found):
        return _with_shards(folder / found[0])
    raise UnsupportedError(
        f"{folder} holds several checkpoints ({', '.join(found[:4])}"
        f"{', ...' if len(found) > 4 else ''}): name the file that is meant"
    )


def _with_shards(path: Path) -> list[str]:
    """The file, or all shards that its name says there are."""
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return [path.name]
    count, digits = int(match[3]), len(match[3])
    if not 1 <= count <= MAX_FILES:
        raise wrong_file(str(path), f"its name says that there are {count} shards")
    names = [
        f"{match[1]}-{number:0{digits}}-of-{match[3]}.safetensors" for number in range(1, count + 1)
    ]
    missing = [name for name in names if not (path.parent / name).exists()]
    if path.name in missing:
        raise NotFoundError(f"no such file: {path}")
    _complain_of(path.parent, missing)
    return names


def _of_index(path: Path) -> list[str]:
    """The files that an index names."""
    with open_regular(path) as (file, size):
        if size > MAX_INDEX_BYTES:
            raise wrong_file(str(path), f"larger than {MAX_INDEX_BYTES} bytes: not an index")
        index = json_object(file.read(MAX_INDEX_BYTES), str(path), "the index", MAX_COMMAS)
    weights = index.get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise wrong_file(str(path), "weight_map is missing: it says which file holds which tensor")
    names = sorted({name if isinstance(name, str) else "" for name in weights.values()})
    for name in names:
        if not name.endswith(".safetensors") or name != os.path.basename(name):
            raise wrong_file(str(path), f"weight_map names '{name[:80]}', no file beside the index")
    if len(names) > MAX_FILES:
        raise wrong_file(str(path), f"{len(names)} files of one checkpoint (at most {MAX_FILES})")
    _complain_of(path.parent, [name for name in names if not (path.parent / name).exists()])
    return names


def _complain_of(folder: Path, missing: list[str]) -> None:
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileError(f"{folder}: missing shards: {', '.join(missing[:3])}{more}")


def _no_file_twice(folder: Path, names: list[str]) -> None:
    """Two shards that are one file (a link in a circle of them) would be counted twice.

    The hub's cache links a shard to a file named after its hash, so equal shards are one as well:
    their tensors would have the same names, which is wrong too.
    """
    seen: dict[tuple[int, int], str] = {}
    for name in names:
        try:
            status = os.stat(folder / name)
        except OSError as error:
            raise unreadable(folder / name, error) from None
        twin = seen.setdefault((status.st_dev, status.st_ino), name)
        if twin != name:
            raise wrong_file(str(folder / name), f"the same file as {twin}")


# ---------------------------------------------------------------- one header


def read_header(path: Path) -> Checkpoint:
    """The header of one file."""
    kinds = Kinds()
    total, present = _read_header(path, kinds)
    return Checkpoint(
        path=str(path), tensors=kinds.tensors(), total_bytes=total, present_bytes=present
    )


def _read_header(path: Path, kinds: Kinds) -> tuple[int, int]:
    """Add the tensors of one file: the bytes that it should have, and has."""
    shown = str(path)
    with open_regular(path) as (file, size):
        if size < 8:
            raise wrong_file(shown, f"{size} bytes are no safetensors file")
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise wrong_file(
                shown,
                f"its header should have {length} bytes, and the file ends after {size}: cut off, or "
                f"not a safetensors file",
            )
        if length > MAX_HEADER_BYTES:
            raise wrong_file(shown, f"a header of {length} bytes (at most {MAX_HEADER_BYTES})")
        try:
            text = file.read(length)
        except OSError as error:
            raise unreadable(path, error) from None
    total = 8 + length + parse_header(text, shown, kinds)
    if size > total:
        raise wrong_file(shown, f"{size - total} bytes that belong to no tensor")
    return total, size


def parse_header(text: bytes, path: str, kinds: Kinds) -> int:
    """Add the tensors of a header: the bytes of their data."""
    found = _in_order(text)
    if found is None or not kinds.names.isdisjoint(found[0]):
        found = _one_by_one(text, path, kinds.names)
    forms, num_bytes = found
    kinds.add(forms)
    return num_bytes


def _in_order(text: bytes) -> tuple[dict[str, Form], int] | None:
    """The tensors of a header, and the bytes of their data; None where anything may be amiss with it,
    which ``_one_by_one`` finds out."""
    # To Python true is 1.
    if text.count(b",") > MAX_COMMAS or any(odd in text for odd in (b"true", b"false", b"\\")):
        return None
    try:
        header = json.loads(text.decode("utf-8"), parse_float=_refuse)
        extra = header.pop("__metadata__", None)
        # A tensor and its three entries have a colon each: where there are no others, no key stands twice.
        num_colons = 4 * len(header) + (0 if extra is None else 1 + len(extra))
        if text.count(b":") != num_colons or not 0 < len(header) <= MAX_TENSORS:
            return None
        forms: dict[str, Form] = {}
        sizes: dict[Form, int] = {}
        begins, ends = [], []
        for name, info in header.items():
            begin, end = info["data_offsets"]
            forms[name] = form = (info["dtype"], *info["shape"])
            if form not in sizes:
                sizes[form] = _size(info["dtype"], info["shape"])
            if sizes[form] != end - begin:
                return None
            begins.append(begin)
            ends.append(end)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    begins.sort()
    ends.sort()
    # None is empty, so each ends where another begins.
    if [*begins, ends[-1]] != [0, *ends] or ends[-1] >= 1 << 63:
        return None
    return forms, ends[-1]


def _refuse(number: str) -> None:
    raise ValueError(number)


def _size(dtype: str, shape: Any) -> int:
    """Bytes of a tensor that has some. Raises ValueError and KeyError for what is not usual."""
    num_bits: int = prod(shape) * BITS[dtype]
    num_bytes, rest = divmod(num_bits, 8)
    if rest or not num_bytes or not _sizes(shape) or len(shape) > MAX_AXES:
        raise ValueError(shape)
    return num_bytes


def _one_by_one(text: bytes, path: str, before: set[str]) -> tuple[dict[str, Form], int]:
    """The same of any header. before: the tensors of other files. Raises SpecError for what is wrong."""
    header = json_object(text, path, "the header", MAX_COMMAS)
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise wrong_file(path, f"{len(header)} tensors (at most {MAX_TENSORS})")
    forms: dict[str, Form] = {}
    spans: list[tuple[int, int, str]] = []
    for name, info in header.items():
        dtype, shape, begin, end = _info(path, name, info)
        if dtype not in BITS:
            raise UnsupportedError(f"{path}: '{name}' is of dtype {dtype}, whose size is not known")
        bits = prod(shape) * BITS[dtype]
        if bits % 8 or bits // 8 != end - begin:
            raise wrong_file(
                path,
                f"'{name}' {list(shape)} {dtype} cannot take the {end - begin} bytes it is given",
            )
        if name in before:
            raise wrong_file(path, f"'{name}' is in another file of it as well")
        forms[name] = (dtype, *shape)
        spans.append((begin, end, name))
    spans.sort()
    last = 0
    for begin, end, name in spans:
        if begin != last:
            what = "overlaps what stands before it" if begin < last else "leaves a gap before it"
            raise wrong_file(path, f"'{name}' {what}: at {begin}, expected at {last}")
        last = end
    return forms, last


def _info(path: str, name: str, info: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, begin and end of one entry."""
    shown = name[:120]
    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        raise wrong_file(path, f"'{shown}' has to have dtype, shape and data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str):
        raise wrong_file(path, f"'{shown}' has no dtype")
    if not _sizes(shape) or len(shape) > MAX_AXES:
        raise wrong_file(path, f"'{shown}' has a shape that is none")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise wrong_file(path, f"'{shown}' has data_offsets that are none")
    return dtype[:40], tuple(shape), offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    """A list of whole numbers that sizes and offsets may be."""
    if not isinstance(value, list):
        return False
    for item in value:  # noqa: SIM110 (half a million times, where all() takes twice as long)
        if type(item) is not int or not 0 <= item < 1 << 63:
            return False
    return True


# ---------------------------------------------------------------- the hub


def hub_tensors(hub: Any, repo_id: str, revision: str | None) -> Checkpoint:
    """The tensors of a repository, from its headers alone, which huggingface_hub asks for by range.

    hub: the module huggingface_hub. Raises whatever it raises; the caller decides what that means.
    """
    found = hub.HfApi().get_safetensors_metadata(repo_id, revision=revision)
    kinds = Kinds()
    num_bytes = 0
    for name, file in found.files_metadata.items():
        header = {
            tensor: {"dtype": info.dtype, "shape": list(info.shape),
                     "data_offsets": list(info.data_offsets)}
            for tensor, info in file.tensors.items()
        }  # fmt: skip
        num_bytes += parse_header(json.dumps(header).encode(), f"{repo_id}/{name}", kinds)
    if len(kinds.names) > MAX_TENSORS:
        raise SpecError(f"{repo_id}: more than {MAX_TENSORS} tensors")
    return Checkpoint(
        path=repo_id, tensors=kinds.tensors(), total_bytes=num_bytes, present_bytes=num_bytes
    )
