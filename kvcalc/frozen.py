"""Frozen dataclasses that are cheap to define.

``@dataclass(frozen=True)`` writes and compiles six methods for every class, 0.4 ms each time Python
starts; a command that answers in a tenth of a second defines fifty. This decorator lets the standard
library collect the fields, so ``fields``, ``replace``, ``is_dataclass``, ``match`` and ``kw_only``
work as usual, and shares one set of methods among all classes. Type checkers see the original.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    from dataclasses import MISSING, FrozenInstanceError
    from dataclasses import dataclass as _collect_fields

    def dataclass(*, frozen: bool, kw_only: bool = False) -> Any:
        """The decorator; ``frozen`` must be True and stands there for the reader."""
        assert frozen, "only frozen dataclasses"

        def decorate(cls: type) -> type:
            for name, method in _METHODS.items():
                if name not in cls.__dict__:
                    setattr(cls, name, method)
            return _collect_fields(init=False, repr=False, eq=False, kw_only=kw_only)(cls)

        return decorate

    def _init(self: Any, *args: Any, **kwargs: Any) -> None:
        values, known = self.__dict__, self.__dataclass_fields__
        positional = type(self).__match_args__
        if len(args) > len(positional):
            raise TypeError(f"{type(self).__name__} takes {len(positional)} positional arguments")
        values.update(zip(positional, args, strict=False))
        for name, value in kwargs.items():
            if name not in known or name in values:
                raise TypeError(f"{type(self).__name__} got an unexpected argument '{name}'")
            values[name] = value
        if len(values) != len(known):
            for name, field in known.items():
                if name not in values:
                    if field.default is not MISSING:
                        values[name] = field.default
                    elif field.default_factory is not MISSING:
                        values[name] = field.default_factory()
                    else:
                        raise TypeError(f"{type(self).__name__} needs '{name}'")

    def _values(self: Any) -> tuple[Any, ...]:
        values = self.__dict__
        return tuple(values[name] for name in self.__dataclass_fields__)

    def _eq(self: Any, other: object) -> Any:
        return _values(self) == _values(other) if type(self) is type(other) else NotImplemented

    def _hash(self: Any) -> int:
        return hash((type(self), _values(self)))

    def _repr(self: Any) -> str:
        pairs = zip(self.__dataclass_fields__, _values(self), strict=True)
        return (
            f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"
        )

    def _refuse(self: Any, name: str, *_: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field '{name}'")

    _METHODS = {
        "__init__": _init,
        "__eq__": _eq,
        "__hash__": _hash,
        "__repr__": _repr,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
    }
