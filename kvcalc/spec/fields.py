"""The fields of the spec's dataclasses, as the reader and the JSON Schema need them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from kvcalc.counts import count_of
from kvcalc.frozen import frozen


@frozen
class SpecField:
    """One field of the spec language.

    kind: its type without None and without what it counts. meta: ``kinds`` or ``lazy`` (where its
    classes are), ``count`` (what a number counts, and its bounds), ``min`` (the least integer of a
    number without one: 1, or 0 where that is its default).
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
        kind, count = field.type, count_of(field.type)
        nullable = field.default is None
        if get_origin(kind) in (UnionType, Union):
            nullable = nullable or NoneType in get_args(kind)
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        required = field.default is MISSING and field.default_factory is MISSING
        default = None if field.default is MISSING else field.default
        zero = isinstance(default, int) and not isinstance(default, bool) and default == 0
        meta: dict[str, Any] = {"min": 0 if zero else 1, **field.metadata}
        if count is not None:
            meta |= {"count": count, "min": count.least}
        found[field.name] = SpecField(kind, meta, nullable, required, default)
    return found


@cache
def required_fields(cls: Any) -> tuple[str, ...]:
    """The names of the fields that have to stand in a file."""
    return tuple(name for name, field in spec_fields(cls).items() if field.required)


@cache
def is_word(kind: Any) -> bool:
    """Whether a value of this type is one word of YAML, other than one of several to choose from."""
    return isinstance(kind, type) and not is_dataclass(kind)
