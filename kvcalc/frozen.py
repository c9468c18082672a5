"""Frozen dataclasses that are cheap to define, and functions that remember what they said of one.

``@dataclass(frozen=True)`` writes and compiles six methods for every class, 0.4 ms each time Python
starts; a command that answers in a tenth of a second defines eighty. ``@frozen`` notes the fields and
shares one set of methods among all classes. ``fields``, ``replace``, ``is_dataclass``, ``match`` and
``kw_only`` work as usual: what ``dataclasses`` asks of a class it makes itself, the first time it asks.
What those methods would pass over in silence (a ``__post_init__``, slots, a field that is left out of
``__init__``) is refused when the class is defined: such a class takes the standard decorator. A class
whose values are made by the hundred earns an ``__init__`` of its own, which takes 0.1 ms to write and a
third of the time to run.
"""

from _thread import allocate_lock
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

Value = TypeVar("Value")
Answer = TypeVar("Answer")

if TYPE_CHECKING:
    from dataclasses import field as field
    from typing import dataclass_transform, overload

    @overload
    def frozen(cls: type[Value], /) -> type[Value]: ...
    @overload
    def frozen(*, kw_only: bool = False) -> Callable[[type[Value]], type[Value]]: ...
    @dataclass_transform(frozen_default=True, field_specifiers=(field,))
    def frozen(cls: Any = None, /, *, kw_only: bool = False) -> Any: ...
else:
    from operator import itemgetter

    # Values of each class that the shared ``__init__`` made, and how many earn another.
    _made: dict[type, int] = {}
    _MANY = 100
    # What an annotation may be that is no field of an instance.
    _NO_FIELDS = ("ClassVar", "InitVar", "KW_ONLY")
    # Most annotations: a class, or a union of them. Asking a class for what it lacks is slow.
    _ORDINARY = (type, type(int | None))
    _HEEDED = {"type", "kw_only", "default", "default_factory", "metadata"}

    class field:
        """What is said of a field beside its type: ``default``, ``default_factory``, ``metadata``."""

        def __init__(self, **said: Any) -> None:
            self.said = said

    def frozen(cls: Any = None, /, *, kw_only: bool = False) -> Any:
        """The decorator, as ``@frozen`` or ``@frozen(kw_only=True)``.

        Raises TypeError for a class that needs more than the shared methods do.
        """

        def decorate(cls: type) -> type:
            for name, method in _METHODS.items():
                if name not in cls.__dict__:
                    setattr(cls, name, method)
            known = _fields_of(cls, kw_only)
            # Of one field its value, of more a tuple.
            cls.__get_fields__ = itemgetter(*known) if known else staticmethod(lambda values: ())
            cls.__frozen_fields__ = known
            cls.__match_args__ = tuple(n for n, said in known.items() if not said["kw_only"])
            cls.__defaults__ = {n: s["default"] for n, s in known.items() if "default" in s}
            cls.__factories__ = {
                n: s["default_factory"] for n, s in known.items() if "default_factory" in s
            }
            cls.__dataclass_fields__ = _Standard(cls)
            return cls

        return decorate if cls is None else decorate(cls)

    def _fields_of(cls: type, kw_only: bool) -> dict[str, dict[str, Any]]:
        """What is said of every field, its ``type`` and ``kw_only`` among it, those of bases first.

        A default stays the attribute of the class. Raises TypeError for what the shared methods
        would not heed.
        """
        known: dict[str, dict[str, Any]] = {}
        bodies = [base.__dict__ for base in cls.__mro__[:-1]]
        for body in reversed(bodies):
            for name in ("__post_init__", "__slots__"):
                if body.get(name):
                    raise TypeError(f"{cls.__name__}: @frozen does not heed {name}: use @dataclass")
            known |= body.get("__frozen_fields__", {})
        for name, kind in cls.__annotations__.items():
            said = known[name] = {"type": kind, "kw_only": kw_only}
            heeded = not _is_special(kind)
            # To ask a class for what it lacks is slow.
            for body in bodies:
                if name in body:
                    heeded = _take_value(cls, name, said) and heeded
                    break
            if not heeded:
                raise TypeError(
                    f"{cls.__name__}.{name}: @frozen has every field in __init__, repr, comparison and "
                    f"hash: use @dataclass, or kvcalc.frozen.field for a default or metadata"
                )
        return known

    def _take_value(cls: type, name: str, said: dict[str, Any]) -> bool:
        """Note what a field's value in the class says; whether the shared methods heed it all."""
        value = getattr(cls, name)
        if not isinstance(value, field):
            said["default"] = value
            # The standard library's ``field`` may say more.
            return type(value).__name__ != "Field"
        said |= value.said
        if "default" in said:
            setattr(cls, name, said["default"])
        else:
            delattr(cls, name)
        return said.keys() <= _HEEDED

    def _is_special(kind: Any) -> bool:
        """Whether an annotation makes no field: ClassVar, InitVar and KW_ONLY; as words, too."""
        if type(kind) in _ORDINARY:
            return False
        if isinstance(kind, str):
            return kind.rpartition("typing.")[2].startswith(_NO_FIELDS)
        alone = getattr(kind, "__origin__", kind)
        return getattr(alone, "_name", type(alone).__name__) in (*_NO_FIELDS, "_KW_ONLY_TYPE")

    class _Standard:
        """``__dataclass_fields__`` of a class: made by the standard library when somebody asks."""

        def __init__(self, owner: type) -> None:
            self.owner = owner

        def __get__(self, value: object, cls: type) -> dict[str, Any]:
            import dataclasses

            kinds, members = {}, {}
            for name, said in self.owner.__frozen_fields__.items():
                kinds[name] = said["type"]
                words = {word: each for word, each in said.items() if word != "type"}
                members[name] = dataclasses.field(**words)
            # With a docstring: one is made of the signature otherwise, which takes a millisecond.
            named = {"__annotations__": kinds, "__doc__": self.owner.__name__}
            alike = type(self.owner.__name__, (), {**named, **members})
            made = dataclasses.dataclass(init=False, repr=False, eq=False)(alike)
            self.owner.__dataclass_params__ = made.__dataclass_params__
            self.owner.__dataclass_fields__ = made.__dataclass_fields__
            return made.__dataclass_fields__

    def _own_init(cls: Any) -> Any:
        """The method that the standard library would write, without a call for each field."""
        names, positional = tuple(cls.__frozen_fields__), cls.__match_args__
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
        known = cls.__frozen_fields__
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
        fields = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__frozen_fields__)
        return f"{type(self).__qualname__}({fields})"

    def _refuse(self: Any, name: str, *_: Any) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field '{name}'")

    _METHODS = {
        "__init__": _init,
        "__eq__": _eq,
        "__hash__": _hash,
        "__repr__": _repr,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
    }


def fields_of(cls: Any) -> tuple[tuple[str, Any, Any], ...]:
    """(name, type, default) of every field of a ``@frozen`` class; None is the default of one without."""
    known: dict[str, dict[str, Any]] = cls.__frozen_fields__
    return tuple((name, said["type"], said.get("default")) for name, said in known.items())


def is_record(value: Any) -> bool:
    """``dataclasses.is_dataclass``, without asking the standard library about one of ours."""
    return hasattr(value, "__frozen_fields__") or hasattr(value, "__dataclass_fields__")


def of_fields(cls: type[Value], given: dict[str, Any]) -> Value:
    """``cls(**given)`` in a third of the time, for who knows that these are fields, and all required."""
    known: Any = cls
    made = object.__new__(cls)
    values = made.__dict__
    values.update(known.__defaults__)
    for name, factory in known.__factories__.items():
        values[name] = factory()
    values.update(given)
    return made


def changed(value: Value, **changes: Any) -> Value:
    """A frozen value with other fields: ``dataclasses.replace`` in a sixth of the time.

    Raises TypeError for a field that it does not have.
    """
    cls, values = type(value), value.__dict__
    # A standard dataclass has no fields but those.
    known = getattr(cls, "__frozen_fields__", None) or cls.__dataclass_fields__  # type: ignore[attr-defined]
    if not changes.keys() <= known.keys():
        raise TypeError(f"{cls.__name__} has no {', '.join(changes)}")
    if len(values) > len(known):  # What it worked out of its fields and kept is not the copy's.
        values = {name: values[name] for name in known}
    copy = object.__new__(cls)
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
        making_room = allocate_lock()

        def ask(value: Value) -> Answer:
            # The value is kept beside its answer, so that no other one can be given its identity.
            found = answers.get(id(value))
            if found is None:
                found = value, function(value)
                # Two threads that make room at once would miss each other's, and the bound.
                with making_room:
                    while len(answers) >= most:
                        del answers[next(iter(answers))]
                    answers[id(value)] = found
            return found[1]

        ask.__doc__, ask.__name__ = function.__doc__, function.__name__
        return ask

    return decorate
