"""The shipped specs as they were read once, so that asking for one costs no YAML.

``index.jsonl`` has a line for each: its name, a checksum of its file, and the fields that are not
their defaults. YAML stays the source: a file with another checksum is read. Written by
``python -m kvcalc.memory.shipped``; tests/spec/test_index.py holds it to the files.
"""

import json
import os
from importlib import import_module
from typing import Any
from zlib import crc32

from kvcalc.spec.model import ModelSpec

FILE = os.path.join(os.path.dirname(__file__), "index.jsonl")


def key(path: str | os.PathLike[str]) -> str:
    """The name of a spec's file and which bytes it has: their CRC-32 and their number."""
    with open(path, "rb") as file:
        data = file.read()
    return f"{os.path.basename(path).rpartition('.')[0]} {crc32(data):08x} {len(data)}"


def known(file: str) -> dict[str, str]:
    """Key -> text of every line of an index; nothing where there is no index."""
    try:
        with open(file, encoding="utf-8") as lines:
            return dict(line.split("\t", 1) for line in lines)
    except OSError:
        return {}


def spec_of(path: str | os.PathLike[str]) -> ModelSpec | None:
    """The spec of a shipped file; None when its YAML has to be read."""
    try:
        start = f"{key(path)}\t"
        with open(FILE, encoding="utf-8") as lines:
            text = next((line for line in lines if line.startswith(start)), None)
    except OSError:
        return None
    if text is None:
        return None
    spec: ModelSpec = from_text(text[len(start) :])
    return spec


def to_text(spec: Any) -> str:
    """A spec, or some fields of one by name, in one line.

    Classes stand under the key "=", fields with their default do not.
    """
    return json.dumps(_plain(spec), separators=(",", ":"), ensure_ascii=False)


def from_text(text: str) -> Any:
    """What ``to_text`` wrote."""
    return json.loads(text, object_hook=_object)


def _plain(value: Any) -> Any:
    from dataclasses import MISSING, fields, is_dataclass

    if is_dataclass(value):
        name = f"{type(value).__module__.removeprefix('kvcalc.')}.{type(value).__name__}"
        pairs = [(field, getattr(value, field.name)) for field in fields(value)]
        kept = {
            f.name: _plain(held) for f, held in pairs if f.default is MISSING or f.default != held
        }
        return {"=": name, **kept}
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, tuple):
        return [_plain(held) for held in value]
    assert value is None or type(value) in (str, int, bool), f"{value!r} has no form in the index"
    return value


def _object(found: dict[str, Any]) -> Any:
    values = {key: _value(held) for key, held in found.items()}
    name = values.pop("=", None)
    if name is None:
        return values
    module, _, cls = name.rpartition(".")
    return getattr(import_module(f"kvcalc.{module}"), cls)(**values)


def _value(value: Any) -> Any:
    return tuple(_value(held) for held in value) if type(value) is list else value
