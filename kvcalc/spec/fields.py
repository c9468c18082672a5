"""The fields of the spec's dataclasses, as the reader and the JSON Schema need them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, cached_property
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from kvcalc.counts import count_of
from kvcalc.frozen import frozen

# What a number may be that has no bound of its own.
MAX_INTEGER = 10**15

# How a field stands in a file: a word of some type, one of several words, one or more values, a
# mapping with fields of its own, a mechanism that its kind tells, or mechanisms by names of the file's.
Form = Literal[
    "text", "integer", "flag", "amount", "share", "choice", "list", "mapping", "record",
    "mechanism", "mechanisms",
]  # fmt: skip


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

    # Asked for every value of a file, and worked out once.

    @cached_property
    def form(self) -> Form:
        """How its values stand in a file."""
        if "named" in self.meta:
            return "mechanisms"
        if "kinds" in self.meta:
            return "mechanism"
        if "lazy" in self.meta or is_dataclass(self.kind):
            return "record"
        if get_origin(self.kind) in (tuple, dict):
            return "list" if get_origin(self.kind) is tuple else "mapping"
        if not isinstance(self.kind, type):
            return "choice"
        words: dict[str, Form] = {
            "str": "text", "int": "integer", "bool": "flag", "Tokens": "amount", "Bytes": "amount",
        }  # fmt: skip
        return words.get(self.kind.__name__, "share")

    @cached_property
    def item(self) -> "SpecField":
        """What stands in a list, or behind the keys of a mapping."""
        if get_origin(self.kind) is tuple:
            return _value(get_args(self.kind)[0], self.meta)
        return _value(get_args(self.kind)[1], {"min": 1})

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What a choice, or a key of a mapping, may be; none where that is left to the file."""
        return get_args(self.kind if self.form == "choice" else get_args(self.kind)[0])

    @cached_property
    def cls(self) -> Any:
        """The class of a record."""
        return member(*self.meta["lazy"]) if "lazy" in self.meta else self.kind

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value of an integer."""
        count = self.meta.get("count")
        return self.meta["min"], MAX_INTEGER if count is None else count.most


def _value(kind: Any, meta: Mapping[str, Any]) -> SpecField:
    return SpecField(kind, meta, nullable=False, required=True, default=None)


@cache
def member(module: str, name: str) -> Any:
    """What a module calls so."""
    return getattr(import_module(module), name)


@cache
def record_of(cls: Any) -> SpecField:
    """A whole document that is one of the spec's dataclasses."""
    return _value(cls, {})


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
def required_fields(cls: Any) -> dict[str, None]:
    """The names of the fields that have to stand in a file, in their order."""
    return dict.fromkeys(name for name, field in spec_fields(cls).items() if field.required)
