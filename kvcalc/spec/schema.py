"""The spec language as a JSON Schema (draft-07), made from the dataclasses that the loader fills.

Editors (yaml-language-server) and check-jsonschema point at the right key with it. A mechanism is
chosen with ``if kind then`` rather than ``anyOf``, so that an error is about the field that is
wrong and not about every mechanism that the mapping is not. What a schema cannot say (heads that
divide, blocks that exist) ``kvcalc check`` does.

``python -m kvcalc.spec.schema`` writes schema.json, which stands beside this file.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

from kvcalc.spec.fields import MAX_INTEGER, SpecField, spec_fields
from kvcalc.spec.model import Bytes, ModelSpec, Tokens

FILE = Path(__file__).with_name("schema.json")

Node = dict[str, Any]

_TOKENS = "^(0|[1-9][0-9_]*)[kKmM]?$"
_BYTES = "^(0|[1-9][0-9_]*)(\\.[0-9]+)?\\s*([kKmMgGtT][iI]?)?[bB]$"
_SHARE = "^(0|[1-9][0-9]{0,17})/[1-9][0-9]{0,17}$"


def schema(cls: type = ModelSpec, title: str = "kvcalc model spec") -> Node:
    """The JSON Schema of a spec, or of another dataclass that the same reader fills."""
    definitions: dict[str, Node] = {}
    root = _object(cls, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "type": "object",
        **root,
        "definitions": dict(sorted(definitions.items())),
    }


def text(of: Node | None = None) -> str:
    """A schema, the spec's unless another is given, as it stands in its file."""
    return json.dumps(of or schema(), indent=1, ensure_ascii=False) + "\n"


def field_docs(cls: type) -> dict[str, str]:
    """Field -> description, from the ``Fields:`` sections of the class and of those it extends; a
    TypedDict does not know those before Python 3.12, and says all of its fields."""
    docs: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        docs |= _section(each.__doc__ or "")
    return docs


def _section(docstring: str) -> dict[str, str]:
    _, _, section = docstring.partition("Fields:\n")
    docs: dict[str, str] = {}
    lines = [line for line in section.splitlines() if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    name = ""
    for line in lines:
        start = re.match(r"([\w, ]+): (.*)", line[margin:])
        if start and not line[margin:].startswith(" "):
            name = start[1]
            docs[name] = start[2]
        elif name:
            docs[name] += f" {line.strip()}"
    return {field: doc for names, doc in docs.items() for field in names.split(", ")}


def _summary(cls: type) -> str:
    return " ".join((cls.__doc__ or "").partition("\n\n")[0].split())


def _object(cls: type, definitions: dict[str, Node]) -> Node:
    """Keywords that hold a mapping to a dataclass; ``type`` is said where it is used, with null."""
    docs = field_docs(cls)
    known = spec_fields(cls)
    node: Node = {"description": _summary(cls)}
    node["properties"] = {
        name: _field(field, docs.get(name, ""), definitions) for name, field in known.items()
    }
    required = [name for name, field in known.items() if field.required]
    if required:
        node["required"] = required
    return {**node, "additionalProperties": False}


def _field(field: SpecField, description: str, definitions: dict[str, Node]) -> Node:
    if "named" in field.meta:
        item = _refer(_kinds(field.meta["kinds"], definitions))
        node = {"type": "object", "minProperties": 1, "additionalProperties": item}
    elif "kinds" in field.meta:
        node = _refer(_kinds(field.meta["kinds"], definitions))
    elif "lazy" in field.meta:
        module, name = field.meta["lazy"]
        node = _value(getattr(import_module(module), name), field.meta, definitions)
    else:
        node = _value(field.kind, field.meta, definitions)
    if field.nullable:
        node = _or_null(node)
    elif isinstance(field.default, (bool, int, str)) and field.default is not None:
        node["default"] = field.default
    return {"description": description, **node} if description else node


def _value(kind: Any, meta: Mapping[str, Any], definitions: dict[str, Node]) -> Node:
    """Keywords that hold a value to a type of the spec's model."""
    if is_dataclass(kind):
        return _refer(_define(kind, definitions))
    origin, args = get_origin(kind), get_args(kind)
    if origin is dict:
        value = _value(args[1], meta, definitions)
        keys = get_args(args[0])
        if keys:
            properties = dict.fromkeys(keys, value)
            return {"type": "object", "properties": properties, "additionalProperties": False}
        return {"type": "object", "minProperties": 1, "additionalProperties": value}
    if origin is tuple:
        item = _value(args[0], meta, definitions)
        if is_dataclass(args[0]):
            return {"type": "array", "items": item}
        # The loader takes one value for a list of one.
        return {"if": {"type": "array"}, "then": {"items": item}, "else": item}
    if args:
        return {"enum": list(args)}
    return dict(_scalars(meta)[kind])


def _scalars(meta: Mapping[str, Any]) -> dict[Any, Node]:
    return {
        bool: {"type": "boolean"},
        str: {"type": "string", "minLength": 1},
        int: _integer(meta),
        Tokens: {"type": ["integer", "string"], "minimum": 0, "pattern": _TOKENS},
        Bytes: {"type": ["integer", "string"], "minimum": 0, "pattern": _BYTES},
        Fraction: {"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": _SHARE},
    }


def _integer(meta: Mapping[str, Any]) -> Node:
    """Bounds of a number; what it counts stands in a comment, which no validator reads."""
    count = meta.get("count")
    if count is None:
        return {"type": "integer", "minimum": meta.get("min", 1), "maximum": MAX_INTEGER}
    return {
        "type": "integer", "minimum": count.least, "maximum": count.most, "$comment": count.unit,
    }  # fmt: skip


def _refer(name: str) -> Node:
    # Draft-07 ignores what stands beside a $ref, a description for instance.
    return {"type": "object", "allOf": [{"$ref": f"#/definitions/{name}"}]}


def _or_null(node: Node) -> Node:
    if "enum" in node:
        return {**node, "enum": [*node["enum"], None]}
    if "type" in node:
        types = node["type"] if isinstance(node["type"], list) else [node["type"]]
        return {**node, "type": [*types, "null"]}
    return {"if": {"type": "null"}, "else": node}


def _define(cls: Any, definitions: dict[str, Node]) -> str:
    name: str = cls.__name__
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _object(cls, definitions)
    return name


def _kinds(package: str, definitions: dict[str, Node]) -> str:
    """The definition that picks one of a package's mechanisms by its kind."""
    name = package.rpartition(".")[2]
    if name in definitions:
        return name
    kinds: dict[tuple[str, str], list[str]] = {}
    for kind, home in import_module(package).KINDS.items():
        kinds.setdefault(home, []).append(kind)
    choices, words = [], []
    for (module, class_name), names in kinds.items():
        cls = getattr(import_module(module), class_name)
        choices.append(
            {
                "if": {"properties": {"kind": {"enum": names}}, "required": ["kind"]},
                "then": {"$ref": f"#/definitions/{_define(cls, definitions)}"},
            }
        )
        words.append(f"{', '.join(names)}: {_summary(cls)}")
    enum = [kind for names in kinds.values() for kind in names]
    definitions[name] = {
        "properties": {"kind": {"description": "\n".join(words), "enum": enum}},
        "required": ["kind"],
        "allOf": choices,
    }
    return name


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
