"""Frozen dataclasses that are cheap to define, and functions that remember what they said of one.

``@dataclass(frozen=True)`` writes and compiles six methods for every class, 0.4 ms each time Python
starts; a command that answers in a tenth of a second defines fifty. ``@frozen`` lets the standard
library collect the fields, so ``fields``, ``replace``, ``is_dataclass``, ``match`` and ``kw_only``
work as usual, and shares one set of methods among all classes. What those methods would pass over
in silence (a ``__post_init__``, slots, a field that is left out of ``__init__``) is refused when
the class is defined: such a class takes the standard decorator. A class whose values are made by the
hundred earns an ``__init__`` of its own, which takes 0.1 ms to write and a third of the time to run.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

Value = TypeVar("Value")
Answer = TypeVar("Answer")

if TYPE_CHECKING:
    from dataclasses import field
    from typing import dataclass_transform, overload

    @overload
    def frozen(cls: type[Value], /) -> type[Value]: ...
    @overload
    def frozen(*, kw_only: bool = False) -> Callable[[type[Value]], type[Value]]: ...
    @dataclass_transform(frozen_default=True, field_specifiers=(field,))
    def frozen(cls: Any = None, /, *, kw_only: bool = False) -> Any: ...
else:
    from dataclasses import MISSING, FrozenInstanceError
    from dataclasses import dataclass as _collect_fields
    from operator import itemgetter

    # Values of each class that the shared ``__init__`` made, and how many earn another.
    _made: dict[type, int] = {}
    _MANY = 100

    def frozen(cls: Any = None, /, *, kw_only: bool = False) -> Any:
        """The decorator, as ``@frozen`` or ``@frozen(kw_only=True)``.

        Raises TypeError for a class that needs more than the shared methods do.
        """

        def decorate(cls: type) -> type:
            for name, method in _METHODS.items():
                if name not in cls.__dict__:
                    setattr(cls, name, method)
            cls = _collect_fields(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
            known = cls.__dataclass_fields__.values()
            _refuse_unheeded(cls, known)
            # Of one field its value, of more a tuple.
            names = [f.name for f in known]
            cls.__get_fields__ = itemgetter(*names) if names else staticmethod(lambda values: ())
            cls.__defaults__ = {f.name: f.default for f in known if f.default is not MISSING}
            cls.__factories__ = {
                f.name: f.default_factory for f in known if f.default_factory is not MISSING
            }
            return cls

        return decorate if cls is None else decorate(cls)

    def _refuse_unheeded(cls: type, known: Any) -> None:
        """Raise TypeError for what the shared methods would not heed."""
        for name in ("__post_init__", "__slots__"):
            if any(base.__dict__.get(name) for base in cls.__mro__):
                raise TypeError(f"{cls.__name__}: @frozen does not heed {name}: use @dataclass")
        for f in known:
            plain = f.init and f.repr and f.compare and f.hash is None
            # ClassVar and InitVar stand among the fields; neither is a value of the instance.
            if not plain or f._field_type.name != "_FIELD":
                raise TypeError(
                    f"{cls.__name__}.{f.name}: @frozen has every field in __init__, repr, "
                    f"comparison and hash: use @dataclass"
                )

    def _own_init(cls: Any) -> Any:
        """The method that the standard library would write, without a call for each field."""
        names, positional = tuple(cls.__dataclass_fields__), cls.__match_args__
        scope = {f"_{name}": default for name, default in cls.__defaults__.items()}
        given = [f"{name}=_{name}" if f"_{name}" in scope else name for name in names]
        if len(positional) < len(names):
            given.insert(len(positional), "*")
        kept = "; ".join(f"__dict__['{name}'] = {name}" for name in names)
        exec(f"def __init__(self, {', '.join(given)}): __dict__ = self.__dict__; {kept}", scope)
        return scope["__init__"]

    def _init(self: Any, *args: Any, **kwargs: Any) -> None:
        cls, values = type(self), self.__dict__
        values.update(cls.__defaults__)
        if cls.__factories__:
            values.update({name: factory() for name, factory in cls.__factories__.items()})
        if args:
            positional = cls.__match_args__
            if len(args) > len(positional) or (kwargs and kwargs.keys() & positional[: len(args)]):
                raise TypeError(f"{cls.__name__} got too many positional arguments")
            values.update(zip(positional, args, strict=False))
        if kwargs:
            values.update(kwargs)
        known = cls.__dataclass_fields__
        if values.keys() != known.keys():
            wrong = ", ".join(sorted(values.keys() ^ known.keys()))
            raise TypeError(f"{cls.__name__}: missing or unexpected arguments: {wrong}")
        made = _made[cls] = _made.get(cls, 0) + 1
        if made == _MANY and not cls.__factories__ and cls.__init__ is _init:
            cls.__init__ = _own_init(cls)

    def _values(self: Any) -> Any:
        return self.__get_fields__(self.__dict__)

    def _eq(self: Any, other: object) -> Any:
        return _values(self) == _values(other) if type(self) is type(other) else NotImplemented

    def _hash(self: Any) -> int:
        return hash((type(self), _values(self)))

    def _repr(self: Any) -> str:
        fields = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__dataclass_fields__)
        return f"{type(self).__qualname__}({fields})"

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


def changed(value: Value, **changes: Any) -> Value:
    """A ``@frozen`` value with other fields: ``dataclasses.replace`` in a sixth of the time.

    Raises TypeError for a field that it does not have.
    """
    known, values = value.__dataclass_fields__, value.__dict__  # type: ignore[attr-defined]
    if not changes.keys() <= known.keys():
        raise TypeError(f"{type(value).__name__} has no {', '.join(changes)}")
    if len(values) > len(known):  # What it worked out of its fields and kept is not the copy's.
        values = {name: values[name] for name in known}
    copy = object.__new__(type(value))
    copy.__dict__.update(values, **changes)
    return copy


def remembered(function: Callable[[Value], Answer]) -> Callable[[Value], Answer]:
    """A pure function that remembers its answers for the last 64 frozen values it was asked about.

    By identity, not by value as functools.cache does: a spec holds dictionaries, which do not hash.
    """
    return remembers(64)(function)


def remembers(most: int) -> Callable[[Callable[[Value], Answer]], Callable[[Value], Answer]]:
    """``remembered`` for the last ``most`` values."""

    def decorate(function: Callable[[Value], Answer]) -> Callable[[Value], Answer]:
        answers: dict[int, tuple[Value, Answer]] = {}

        def ask(value: Value) -> Answer:
            # The value is kept beside its answer, so that no other one can be given its identity.
            found = answers.get(id(value))
            if found is None:
                if len(answers) == most:
                    del answers[next(iter(answers))]
                found = answers[id(value)] = (value, function(value))
            return found[1]

        ask.__doc__, ask.__name__ = function.__doc__, function.__name__
        return ask

    return decorate
