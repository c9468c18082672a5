"""Read the defaults of transformers' configuration classes: `python -m tests.convert.class_defaults`.

Writes kvcalc/convert/class_defaults.json, which the importer uses for keys that a file leaves out. Types
that a newer release brought (``SINCE``) are read when that one is installed, and kept otherwise.
tests/convert/test_class_defaults.py holds the file to the transformers release it names.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import TRANSFORMERS
from kvcalc.convert.ignored import is_ignored
from kvcalc.convert.model_types import CONVERTERS, PARTS, SINCE, TEXT_CONFIGS

FILE = Path(__file__).resolve().parents[2] / "kvcalc" / "convert" / "class_defaults.json"


def read(model_type: str) -> dict[str, Any]:
    """One class: its name, its aliases and the defaults of its fields that may matter."""
    from transformers import PreTrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = CONFIG_MAPPING[model_type]
    base = {field.name: field.default for field in dataclasses.fields(PreTrainedConfig)}
    defaults = {}
    for field in dataclasses.fields(cls):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING or is_ignored(field.name):
            continue
        if field.name in base and base[field.name] == default:
            continue
        if isinstance(default, float) and default == float("inf"):
            continue
        if isinstance(default, tuple):
            default = list(default)
        if not isinstance(default, bool | int | float | str | list | dict | None):
            continue
        defaults[field.name] = default
    entry = {
        "class": cls.__name__, "aliases": dict(cls.attribute_map), "defaults": defaults
    }  # fmt: skip
    if text := _text_defaults(cls, model_type):
        entry["text"] = text
    return entry


def _text_defaults(cls: Any, model_type: str) -> dict[str, Any]:
    """What a multimodal class fills into a text_config that leaves it out."""
    key, inner, _ = TEXT_CONFIGS.get(model_type, ("", "", ""))
    stated = getattr(getattr(cls, "sub_configs_defaults", {}).get(key), "init_kwargs", None) or {}
    kept = {name: value for name, value in stated.items() if not is_ignored(name)}
    if not kept:
        return {}
    found = getattr(cls.from_dict({key: {"model_type": inner}}), key).to_dict()
    return kept if all(found.get(name) == value for name, value in kept.items()) else {}


def class_defaults() -> dict[str, Any]:
    """Every model type that kvcalc imports: those of the installed release read, the others as they are."""
    names = sorted({*CONVERTERS, *TEXT_CONFIGS, *PARTS})
    before = json.loads(FILE.read_text("utf-8"))
    return {name: read(name) if is_of_this_release(name) else before[name] for name in names}


def is_of_this_release(model_type: str) -> bool:
    """Whether the installed transformers is the release that a type is held to."""
    from transformers import __version__

    return SINCE.get(model_type, TRANSFORMERS) == __version__


def text(table: dict[str, Any]) -> str:
    """One model type a line, so that a diff of two transformers releases reads well."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in table.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(class_defaults()), "utf-8")
