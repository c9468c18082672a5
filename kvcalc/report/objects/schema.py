"""A JSON Schema (draft-07) of each answer, made from its types.

``schema_version`` counts what a program must be changed for: a field that goes, or that gets another
name, type, unit or meaning. Within one version fields may come, so the schemas leave objects open
and a reader ignores what it does not know.
"""

from dataclasses import fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from kvcalc.report.formats.json import SCHEMA_VERSION
from kvcalc.report.objects import ANSWERS
from kvcalc.spec.schema import field_docs

Node = dict[str, Any]

_SCALARS: dict[Any, Node] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    # A quotient that JSON has no better number for.
    Fraction: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


def schema(answer: str, closed: bool = False) -> Node:
    """The schema of an answer's output. closed: further fields are an error, for kvcalc's own tests."""
    module, names = ANSWERS[answer]
    definitions: dict[str, Node] = {}
    each = []
    for cls in (getattr(import_module(module), name) for name in names):
        root = _object(cls, definitions, closed)
        root["properties"] = {"schema_version": {"const": SCHEMA_VERSION}, **root["properties"]}
        root["required"] = ["schema_version", *root["required"]]
        # An object of another answer has no version of its own.
        definitions[f"{cls.__name__}Answer"] = root
        each.append({"$ref": f"#/definitions/{cls.__name__}Answer"})
    one = each[0] if len(each) == 1 else {"anyOf": each}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"kvcalc {answer} --format json",
        "description": "One object, or a list of them where several models are asked about. "
        "schema_version changes when a field goes or means something else; fields may come "
        "without.",
        "anyOf": [one, {"type": "array", "items": one}],
        "definitions": dict(sorted(definitions.items())),
    }


def _refer(cls: Any, definitions: dict[str, Node], closed: bool) -> Node:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}
        definitions[cls.__name__] = _object(cls, definitions, closed)
    elif (there := definitions[cls.__name__]) and there != _object(cls, dict(definitions), closed):
        raise TypeError(f"two objects of one answer are called {cls.__name__}")
    return {"$ref": f"#/definitions/{cls.__name__}"}


def _object(cls: Any, definitions: dict[str, Node], closed: bool) -> Node:
    hints = get_type_hints(cls)
    if is_typeddict(cls):
        required = [name for name in hints if name in cls.__required_keys__]
    else:
        hints = {item.name: hints[item.name] for item in fields(cls)}
        required = list(hints)
    docs = field_docs(cls)
    properties = {
        name: ({"description": docs[name]} if name in docs else {})
        | _value(kind, definitions, closed)
        for name, kind in hints.items()
    }
    node: Node = {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").partition("\n\n")[0].split()),
        "properties": properties,
        "required": required,
    }
    return node | {"additionalProperties": False} if closed else node


def _value(kind: Any, definitions: dict[str, Node], closed: bool) -> Node:
    """Keywords that hold a value to a type of the answers."""
    if is_typeddict(kind) or is_dataclass(kind):
        # Draft-07 ignores what stands beside a $ref, a description for instance.
        return {"allOf": [_refer(kind, definitions, closed)]}
    origin, args = get_origin(kind), get_args(kind)
    if origin in (list, tuple):
        return {"type": "array", "items": _value(args[0], definitions, closed)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(args[1], definitions, closed)}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (UnionType, Union):
        return {"anyOf": [_value(arg, definitions, closed) for arg in args]}
    return dict(_SCALARS[kind])
