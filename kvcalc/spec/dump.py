"""A spec back to YAML, as a person would lay it out: load(dump(spec)) == spec."""

from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from typing import Any

import yaml

from kvcalc.spec.model import ModelSpec

SCHEMA_LINE = "# yaml-language-server: $schema=../../kvcalc/spec/schema.json\n"


# Keys whose entries stand on lines of their own.
_LISTS = ("layers", "budgets", "weight_formats")


def to_plain(value: Any) -> Any:
    """Dataclasses to mappings without the fields that hold their defaults."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {}
        for field in fields(value):
            item, default = getattr(value, field.name), field.default
            if field.default_factory is not MISSING:
                default = field.default_factory()
            if default is MISSING or item != default:
                plain[field.name] = to_plain(item)
        # What a mapping is comes first, also where its class extends another.
        return {"kind": plain.pop("kind"), **plain} if "kind" in plain else plain
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Fraction):
        return str(value) if value.denominator != 1 else int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


def dump(spec: ModelSpec, comments: dict[str, str] | None = None) -> str:
    """The spec as YAML text. comments: top-level key -> a comment line before it."""
    lines: list[str] = []
    for key, value in to_plain(spec).items():
        if comments and key in comments:
            lines.append(f"# {comments[key]}")
        if key == "blocks":
            lines.append("blocks:")
            for name, block in value.items():
                lines.append(f"  {flow(name)}:" + ("" if block else " {}"))
                lines.extend(f"    {part}: {flow(item)}" for part, item in block.items())
        elif key in ("encoder", "towers"):
            lines.append(f"{key}:")
            for part, item in value.items():
                lines.extend(_entry(part, item, "  "))
        else:
            lines.extend(_entry(key, value, ""))
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return [f"{indent}{key}: {flow(value[0])}"]
    if isinstance(value, list) and value and (key in _LISTS or _long(value)):
        return [f"{indent}{key}:"] + [f"{indent}  - {flow(item)}" for item in value]
    return [f"{indent}{key}: {flow(value)}"]


def _long(value: list[Any]) -> bool:
    return all(isinstance(item, str) for item in value) and sum(map(len, value)) > 80


def flow(value: Any) -> str:
    """A plain value as YAML on one line, whatever stands in its texts."""
    text = yaml.dump(value, Dumper=_OneLine, default_flow_style=True, sort_keys=False,
                     width=10**9, allow_unicode=True)  # fmt: skip
    return text.removesuffix("\n").removesuffix("\n...")


class _OneLine(yaml.SafeDumper):
    """Writes a line break as ``\\n`` between double quotes; other styles would break the line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _OneLine, value: str) -> yaml.ScalarNode:
    breaks = len(value.splitlines()) > 1 or value.endswith(("\n", "\r"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if breaks else None)


_OneLine.add_representer(str, _text)
