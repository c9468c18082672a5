"""The defaults of transformers' configuration classes of towers: `python -m tests.convert.tower_defaults`.

Writes kvcalc/convert/towers/defaults.json: ``classes``, what a nested class holds where a file says
nothing, and ``parts``, the type that a multimodal class takes a nested config for that states none.
"""

import json
from pathlib import Path
from typing import Any

from kvcalc.convert.model_types import REMOTE_PARTS, TEXT_CONFIGS
from kvcalc.convert.towers import READERS
from tests.convert.class_defaults import is_of_this_release, read

FILE = Path(__file__).resolve().parents[2] / "kvcalc" / "convert" / "towers" / "defaults.json"

# Nested configs that are no towers.
_NO_TOWER = ("text_config", "talker_config", "token2wav_config", "code2wav_config")
# Classes that a tower may have beside the default of its multimodal class.
_BESIDE = (
    "clip_vision_model", "siglip_vision_model", "siglip2_vision_model", "pixtral", "internvl_vision",
    "idefics2_vision", "idefics3_vision", "gemma4_vision", "gemma4_audio",
    "gemma4_unified_vision", "gemma4_unified_audio",
)  # fmt: skip


# Towers that a class builds only where a file describes them.
_OPTIONAL = {
    name: {"vision_config": f"{name}_vision", "audio_config": f"{name}_audio"}
    for name in ("gemma4", "gemma4_unified")
} | {"molmo2": {"vit_config": "molmo2_vision!"}}


def table() -> dict[str, Any]:
    """Both halves, types in order; those of another release as they are."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    before = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {"classes": {}, "parts": {}}
    classes = {name: class_entry(name) for name in _BESIDE}
    parts: dict[str, dict[str, str]] = {}
    for name in sorted(READERS.keys() - REMOTE_PARTS.keys()):
        if not is_of_this_release(name):
            parts[name] = before["parts"][name]
            known = before["classes"]
            classes |= {own: known[own] for own in (p.rstrip("!") for p in parts[name].values())}
            continue
        parts[name] = dict(_OPTIONAL.get(name, {}))
        for key, value in CONFIG_MAPPING[name]().to_dict().items():
            tower = key not in (*_NO_TOWER, TEXT_CONFIGS.get(name, ("",))[0])
            if tower and isinstance(value, dict) and value.get("model_type") in CONFIG_MAPPING:
                own = value["model_type"]
                classes[own] = class_entry(own)
                parts[name][key] = own + _only(CONFIG_MAPPING[name], key)
    return {"classes": dict(sorted(classes.items())), "parts": parts}


def _only(cls: Any, key: str) -> str:
    """A mark where the class makes a nested config of one class, whatever type the file states."""
    from transformers import AutoConfig

    return "" if getattr(cls, "sub_configs", {}).get(key, AutoConfig) is AutoConfig else "!"


def class_entry(model_type: str) -> dict[str, Any]:
    """A nested class: its name, its aliases and the defaults of its fields that may matter."""
    entry = read(model_type)
    return {name: entry[name] for name in ("class", "aliases", "defaults")}


def text(found: dict[str, Any]) -> str:
    """One type a line, so that a diff of two releases reads well."""
    halves = []
    for half, rows in found.items():
        lines = [
            f"{json.dumps(name)}: {json.dumps(row, sort_keys=True)}" for name, row in rows.items()
        ]
        halves.append(f'"{half}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(halves) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(table()), "utf-8")
