"""Read a config.json, and what stands beside it.

Reading is bounded (a config is small), never follows anything but a regular file, and never runs
code that stands beside it.
"""

from pathlib import Path
from typing import Any

from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.imported import Imported, model_name
from kvcalc.convert.stored import json_object, wrong_file
from kvcalc.errors import UnsupportedError
from kvcalc.reading import MAX_CONFIG_BYTES, at_most, open_regular


def from_file(path: Path, *, stored: bool = False) -> Imported:
    """The spec of a local config.json, named after its folder, or after the file.

    stored: see ``spec_from_config``.
    """
    values = read_json(path)
    # ModelOpt states its quantization in a file of its own; bf16 would be a plausible wrong number.
    apart = path.with_name("hf_quant_config.json")
    if not stored and apart.is_file():
        values = with_apart(values, at_most(apart, MAX_CONFIG_BYTES), str(apart))
    stem = path.resolve().parent.name if path.name == "config.json" else path.stem
    return spec_from_config(values, model_name(stem), str(path), str(path), stored=stored)


def with_apart(values: dict[str, Any], apart: bytes, where: str) -> dict[str, Any]:
    """A config with the quantization that stands in a file beside it, if it states none itself.

    Raises UnsupportedError where that file has no quantization, SpecError where it is no JSON.
    """
    if "quantization_config" in values:
        return values
    if len(apart) > MAX_CONFIG_BYTES:
        raise wrong_file(where, f"larger than {MAX_CONFIG_BYTES} bytes: not a config")
    found = json_object(apart, where, "the config").get("quantization")
    if not isinstance(found, dict):
        raise UnsupportedError(
            f"{where}: a quantization that stands apart from config.json and has no 'quantization' "
            f"is not accounted for; give the safetensors, whose headers say what the weights take"
        )
    return {**values, "quantization_config": {**found, "quant_method": "modelopt"}}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a regular file of bounded size, without keys that stand twice."""
    with open_regular(path) as (file, size):
        if size > MAX_CONFIG_BYTES:
            raise wrong_file(str(path), f"larger than {MAX_CONFIG_BYTES} bytes: not a config")
        return json_object(file.read(MAX_CONFIG_BYTES), str(path), "the config")
