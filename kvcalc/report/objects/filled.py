"""An answer's object, written from what the answer is made of: a field is an attribute of its name, or
of the one that its type names beside it: ``budget_bytes: Annotated[int, "budget"]``. Points part
attributes of attributes; an empty name is the source itself, for an object that groups its fields.
"""

from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ForwardRef,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from kvcalc.frozen import is_record


def filled(kind: type, source: object = None, /, **said: Any) -> dict[str, Any]:
    """An object of a type of ``objects/``, its fields in the type's order.

    Each is what is said of it, or else the source's attribute of that name; objects within it are
    filled likewise, and one that is a dict already stays. A field that need not be there is left
    out where there is nothing to say, and an empty text is null where it may be. A quotient becomes
    the only number that JSON has for it.
    """
    found: dict[str, Any] = {}
    for name, path, hint, needed in _fields(kind):
        if name in said:
            value = said.pop(name)
            kept = needed or value is not None or NoneType in get_args(hint)
        else:
            value = _attribute(source, path) if needed else getattr(source, path, None)
            kept = needed or value not in (None, ())
        if kept:
            found[name] = _value(hint, value)
    assert not said, f"{kind.__name__} has no {', '.join(said)}"
    return found


def _attribute(source: object, path: str) -> Any:
    for name in path.split(".") if path else ():
        source = getattr(source, name)
    return source


@cache
def _fields(kind: Any) -> tuple[tuple[str, str, Any, bool], ...]:
    """(name, the source's attribute, type, whether it has to be there) of the fields of a TypedDict
    or a dataclass."""
    hints = kind.__annotations__ if is_typeddict(kind) else {}
    if not hints or any(isinstance(hint, ForwardRef) for hint in hints.values()):
        # Names are looked up, which takes as long as the rest of an estimate.
        hints = get_type_hints(kind, include_extras=True)
    optional = getattr(kind, "__optional_keys__", ())
    fields = []
    for name, hint in hints.items():
        if get_origin(hint) is NotRequired:
            hint = get_args(hint)[0]
        path = name
        if get_origin(hint) is Annotated:
            hint, path = get_args(hint)
        fields.append((name, path, hint, name not in optional))
    return tuple(fields)


def _value(hint: Any, value: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if value == "" and NoneType in args:
        return None
    if value is None or isinstance(value, str | int | dict):
        return value
    if origin in (Union, UnionType):
        return _value(args[0], value)
    if origin is dict:
        return dict(value)
    if origin in (list, tuple):
        return [_value(args[0], each) for each in value]
    if is_typeddict(hint) or is_record(hint):
        return filled(hint, value)
    return value if hint is Any else float(value)
