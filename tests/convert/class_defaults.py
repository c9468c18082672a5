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
from tests.convert.draws import draw
from tests.convert.oracle import build

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
    return entry | _refusals(cls, defaults)


# Fields that a class may leave at null and then build nothing of, in any layer.
_NEEDED = ("head_dim", "num_key_value_heads", "n_shared_experts")


def _refusals(cls: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """What the class refuses, asked of itself: nulls, odd rotary widths, widths that heads do not divide.

    nullable: fields that take null though null is not their default; the others take none. required:
    fields whose default is null, with which nothing is built. even: the width of a head that rotates as
    a whole, as a file may state it, or hidden_size over its heads. divided: hidden_size by its heads,
    whatever head_dim says.
    """
    found: dict[str, Any] = {}
    for name, default in sorted(defaults.items()):
        built = any(
            not _said(cls, {name: None} | stated) and _builds(cls, defaults, {name: None} | stated)
            for stated in ({}, _every_layer_alike(defaults))
        )
        if default is not None and built:
            found.setdefault("nullable", []).append(name)
        elif default is None and not built and name in _NEEDED:
            found.setdefault("required", []).append(name)
    heads = defaults.get("num_attention_heads")
    odd = [(name, {name: 9}) for name in ("head_dim", "kv_channels", "qk_rope_head_dim")]
    if isinstance(heads, int):
        shape = {"hidden_size": 9 * heads}
        odd.append(("hidden_size", shape | ({"head_dim": None} if "head_dim" in defaults else {})))
        if "not a multiple of" in _said(cls, {"hidden_size": 16 * heads + 1}):
            found["divided"] = True
    if even := [name for name, values in odd if "even rotary" in _said(cls, values)]:
        found["even"] = even
    return found


def _every_layer_alike(defaults: dict[str, Any]) -> dict[str, Any]:
    """Layers without a window, stated: a class may make its list of them from what is null here."""
    layers = defaults.get("num_hidden_layers")
    alike = "layer_types" in defaults and isinstance(layers, int)
    return {"layer_types": ["full_attention"] * layers} if alike and layers else {}


def _builds(cls: Any, defaults: dict[str, Any], changed: dict[str, Any]) -> bool:
    """Whether a small model of the type is built with keys that are null."""
    if cls.model_type not in CONVERTERS:
        return True
    try:
        small = draw(cls.model_type, 0, defaults) | changed
        if "layer_types" in changed:
            small |= _every_layer_alike(small)
        build(small)
    except Exception:
        return False
    return True


def _said(cls: Any, values: dict[str, Any]) -> str:
    """The class's error about values, or nothing."""
    try:
        cls(**values)
    except Exception as error:
        return str(error)
    return ""


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
