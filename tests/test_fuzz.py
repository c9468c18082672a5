"""A short round of ``python -m tests.fuzz``: broken files end in a sentence, soon."""

import json
import struct
from pathlib import Path

import pytest

from tests import fuzz

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_broken_files(kind: str) -> None:
    fuzz.round_of(kind, 8)


def test_the_sound_files_are_sound(tmp_path: Path) -> None:
    """What is broken was an answer before."""
    (tmp_path / "model.gguf").write_bytes(fuzz.gguf())
    fuzz.ask("estimate", str(tmp_path / "model.gguf"), "--format", "json")
    assert fuzz.status("estimate", str(tmp_path / "model.gguf")) == 0
    fuzz.header_of_safetensors(tmp_path, 0, [])
    assert fuzz.status("estimate", str(tmp_path)) == 0


def test_80_000_unknown_keys(tmp_path: Path) -> None:
    for word in ("zz", "num_extra_layers"):
        values = {**fuzz.CONFIG, **{f"{word}_{index}": 1 for index in range(80_000)}}
        (tmp_path / "config.json").write_text(json.dumps(values), "utf-8")
        for command in ("estimate",) if word == "zz" else ("check", "estimate"):
            said = fuzz.said(command, str(tmp_path / "config.json"), "--format", "json")
            assert len(said) < 100_000
            assert command == "check" or "79,9" in said


def test_a_gguf_header_of_small_arrays(tmp_path: Path) -> None:
    """64 MB of arrays that are each short enough to be kept."""
    body = b"".join(
        struct.pack("<Q", 6) + b"k%05d" % index + struct.pack("<IIQ", 9, 0, 8000) + bytes(8000)
        for index in range(2000)
    )
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2000) + body)
    said = fuzz.said("estimate", str(tmp_path / "a.gguf"), "--format", "json")
    assert "numbers in short arrays" in said


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    header = {"a\ud800": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    data = json.dumps(header).encode()
    (tmp_path / "config.json").write_text(json.dumps(fuzz.CONFIG), "utf-8")
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)
    said = fuzz.said("report", str(tmp_path), "-o", str(tmp_path / "page.html"))
    assert "half of a surrogate pair" in said
