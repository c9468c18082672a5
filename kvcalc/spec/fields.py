"""The fields of the spec's dataclasses, as the reader and the JSON Schema need them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from kvcalc.frozen import frozen


@frozen
class SpecField:
    """One field of the spec language.

    kind: its type without None. meta: ``kinds`` or ``lazy`` (where its classes are), ``min`` (the
    least integer: 1 unless the field says otherwise or 0 is its default).
    """

    kind: Any
    meta: Mapping[str, Any]
    nullable: bool
    required: bool
    default: Any


@cache
def spec_fields(cls: Any) -> dict[str, SpecField]:
    """The fields of one of the spec's dataclasses, by name."""
    found = {}
    for field in fields(cls):
        kind = field.type
        nullable = field.default is None
        if get_origin(kind) in (UnionType, Union):
            nullable = nullable or NoneType in get_args(kind)
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        required = field.default is MISSING and field.default_factory is MISSING
        default = None if field.default is MISSING else field.default
        zero = isinstance(default, int) and not isinstance(default, bool) and default == 0
        meta = {"min": 0 if zero else 1, **field.metadata}
        found[field.name] = SpecField(kind, meta, nullable, required, default)
    return found
