"""safetensors files that want to hurt: lying lengths, broken shards, bytes at random."""

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc.convert.files import load_model
from kvcalc.convert.safetensors import read_checkpoint, read_header
from kvcalc.errors import FileError, KvcalcError, NotFoundError, SpecError, UnsupportedError
from tests.convert.costs import answered_soon, linux, refused_cheaply
from tests.convert.safetensors_files import (
    CONFIG,
    Tensors,
    data_bytes,
    header,
    llama,
    model,
    save,
    shards,
)
from tests.drawn import examples

pytestmark = pytest.mark.slow


def entry(**changed: object) -> bytes:
    info = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed
    return json.dumps({"a": info}).encode()


def after(**changed: object) -> bytes:
    """A tensor like one that was in order."""
    second = {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]} | changed
    return json.dumps({"a": second | {"shape": [1], "data_offsets": [0, 1]}, "b": second}).encode()


HOSTILE = {
    "not JSON": (b"{]", ":1:2: the header is not JSON"),
    "not an object": (b"[1, 2]", "not a JSON object"),
    "not UTF-8": (b'{"\xff": 1}', "not UTF-8"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "a long number": (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
    "twice": (b'{"a": 1, "a": 2}', "has 'a' twice"),
    "no entry": (b'{"a": 1}', "has to have dtype, shape and data_offsets"),
    "more keys": (entry(extra=1), "has to have dtype, shape and data_offsets"),
    "dtype": (entry(dtype="F3"), "dtype F3, whose size is not known"),
    "dtype of a number": (entry(dtype=3), "has no dtype"),
    "negative shape": (entry(shape=[-2]), "a shape that is none"),
    "fraction": (entry(shape=[2.0]), "a shape that is none"),
    "truth": (entry(shape=[True, 2]), "a shape that is none"),
    "a fraction after the like": (after(shape=[1.0]), "'b' has a shape that is none"),
    "a truth after the like": (after(shape=[True]), "'b' has a shape that is none"),
    "an offset that is true": (after(data_offsets=[True, 2]), "'b' has data_offsets that are none"),
    "no list after the like": (after(shape="1"), "'b' has a shape that is none"),
    "twice, whole": (b'{"b": 1, ' + after()[1:], "has 'b' twice"),
    "an entry twice": (after().replace(b'"dtype"', b'"dtype": "F4", "dtype"'), "has 'dtype' twice"),
    "within another": (
        json.dumps(
            {
                "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
                "b": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]},
            }
        ).encode(),
        "'b' overlaps what stands before it",
    ),
    "many axes": (entry(shape=[1] * 99), "a shape that is none"),
    "2^62 * 2^62": (entry(shape=[1 << 62, 1 << 62]), "cannot take the 8 bytes"),
    "wrong size": (entry(shape=[3]), "cannot take the 8 bytes"),
    "backwards": (entry(data_offsets=[8, 0]), "data_offsets that are none"),
    "one offset": (entry(data_offsets=[8]), "data_offsets that are none"),
    "a gap": (entry(data_offsets=[8, 16]), "leaves a gap before it"),
    "half a byte": (entry(dtype="F4", shape=[3], data_offsets=[0, 1]), "cannot take the 1 bytes"),
    "many commas": (b"{" + b"," * 600_000 + b"}", "more entries than a checkpoint has tensors"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers(tmp_path: Path, case: str) -> None:
    text, message = HOSTILE[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(KvcalcError) as caught:
        read_header(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message


def test_lying_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for data, message in (
        (b"", "0 bytes are no safetensors file"),
        (
            struct.pack("<Q", 1 << 60) + b"{}",
            "1152921504606846976 bytes, and the file ends after 10",
        ),
        (struct.pack("<Q", 100) + b"{}", "cut off, or not a safetensors file"),
        (struct.pack("<Q", 2) + b"{}xx", "2 bytes that belong to no tensor"),
    ):
        path.write_bytes(data)
        with pytest.raises(SpecError, match=message):
            read_header(path)
    overlapping = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    }
    text = json.dumps(overlapping).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(12))
    with pytest.raises(SpecError, match="'b' overlaps what stands before it"):
        read_header(path)


def test_broken_shards(tmp_path: Path) -> None:
    first, second = shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    second.unlink()
    with pytest.raises(FileError, match=r"missing shards: model-00002-of-00002"):
        read_checkpoint(tmp_path)
    second.symlink_to(first)
    with pytest.raises(SpecError, match=r"the same file as model-00001-of-00002"):
        read_checkpoint(tmp_path)
    second.unlink()
    second.write_bytes(first.read_bytes())
    with pytest.raises(SpecError, match="is in another file of it as well"):
        read_checkpoint(tmp_path)
    for name in ("../secret.safetensors", "/etc/passwd", 7, "x.bin"):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(SpecError, match="no file beside the index"):
            read_checkpoint(tmp_path)
    index.write_text("{}")
    with pytest.raises(SpecError, match="weight_map is missing"):
        read_checkpoint(tmp_path)
    index.unlink()
    second.unlink()
    first.rename(tmp_path / "other-00001-of-99999.safetensors")
    with pytest.raises(SpecError, match="99999 shards"):
        read_checkpoint(tmp_path / "other-00001-of-99999.safetensors")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_checkpoint(tmp_path / "none.safetensors")
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(FileError, match="not a regular file"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "model.safetensors")
    with pytest.raises(FileError, match="cannot read"):
        read_checkpoint(tmp_path)


def test_several_checkpoints_in_one_folder(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": ("F32", [1])})
    save(tmp_path / "b.safetensors", {"a": ("F32", [1])})
    with pytest.raises(UnsupportedError, match="name the file that is meant"):
        read_checkpoint(tmp_path)
    # Mistral's repositories hold the weights twice; the model's own files are those meant.
    save(tmp_path / "model.safetensors", {"a": ("F32", [1])})
    save(tmp_path / "consolidated.safetensors", {"b": ("F32", [2])})
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert [tensor.name for tensor in found.tensors] == ["a"]


def large(case: str, path: Path) -> None:
    """A gigabyte that costs nothing to write, whose header asks for much memory."""
    text = {
        "zeros": b"",
        "lists": b'{"a": [' + b"[]," * 250_000 + b"1]}",
        "numbers": b'{"a": [' + b"1e5," * 500_000 + b"1]}",
        "strings": b'{"a": [' + b'"%s",' * 500_000 + b"1]}",
        "tensors": header({f"model.layers.{i}.x": ("F32", [1]) for i in range(80_000)}),
    }[case]
    length = (1 << 29) if case == "zeros" else len(text)
    path.write_bytes(struct.pack("<Q", length) + text)
    with path.open("r+b") as file:
        file.truncate(1 << 30)


@linux
@pytest.mark.parametrize("case", ["zeros", "lists", "numbers", "strings", "tensors"])
def test_a_gigabyte_costs_little(tmp_path: Path, case: str) -> None:
    path = tmp_path / "model.safetensors"
    large(case, path)
    refused_cheaply(path)


# ---------------------------------------------------------------- fuzzing

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F32", "BF16", "I32"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a.weight"]), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def _only_expected(folder: Path, data: bytes) -> None:
    """A model or an error that kvcalc raises on purpose, soon."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(data)
    answered_soon(lambda: load_model(str(folder)))


@settings(max_examples=examples(75), deadline=None)
@given(value=_JSON)
def test_fuzz_headers(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    text = json.dumps(value).encode()
    _only_expected(tmp_path_factory.getbasetemp(), struct.pack("<Q", len(text)) + text)


@settings(max_examples=examples(75), deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
       end=st.integers(0, 4000))  # fmt: skip
def test_fuzz_changed_bytes(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], end: int
) -> None:
    text = header(llama())
    data = bytearray(struct.pack("<Q", len(text)) + text)
    for place, value in edits:
        data[place] = value
    _only_expected(tmp_path_factory.getbasetemp(), bytes(data[: end or None]))


_SHAPES = st.lists(st.sampled_from([1, 2, 16, 32, 64, 96, 100]), max_size=3)


@settings(max_examples=examples(50), deadline=None)
@given(changed=st.dictionaries(st.sampled_from([*llama(), "model.layers.9.x", "visual.a", "lm_head.x"]),
                               st.tuples(st.sampled_from(["BF16", "U8", "I32", "F8_E4M3"]), _SHAPES),
                               max_size=5),
       dropped=st.lists(st.sampled_from(list(llama())), max_size=5))  # fmt: skip
def test_every_byte_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, changed: Tensors, dropped: list[str]
) -> None:
    """Whatever the tensors: what is counted and what stands beside are the file's bytes."""
    tensors = {name: tensor for name, tensor in llama().items() if name not in dropped} | changed
    folder = model(tmp_path_factory.mktemp("any"), tensors)
    found = load_model(str(folder))
    assert found is not None
    assert found.weights is not None
    beside = sum(num_bytes for _, num_bytes in found.weights.beside)
    assert found.weights.bytes + beside == data_bytes(tensors)
    assert sum(found.weights.by_dtype.values()) == found.weights.bytes
