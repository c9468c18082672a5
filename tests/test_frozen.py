"""The shared decorator of frozen dataclasses refuses what it would not heed."""

import sys
import threading
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from kvcalc import frozen as ours
from kvcalc.frozen import changed, fields_of, frozen, remembers

PACKAGE = Path(__file__).resolve().parent.parent / "kvcalc"


class Checked:
    x: int

    def __post_init__(self) -> None:
        raise ValueError("checked")


class Slotted:
    __slots__ = ("x",)
    x: int


class LeftOut:
    x: int = field(default=0, init=False)


class Hidden:
    x: int = field(default=0, repr=False)


class NotCompared:
    x: int = field(default=0, compare=False)


class OfTheClass:
    x: ClassVar[int] = 0


class Passed:
    x: InitVar[int] = 0


@pytest.mark.parametrize(
    "cls", [Checked, Slotted, LeftOut, Hidden, NotCompared, OfTheClass, Passed]
)
def test_what_it_would_not_heed_is_refused(cls: type) -> None:
    with pytest.raises(TypeError, match="use @dataclass"):
        frozen(cls)


def test_a_check_that_is_inherited_is_refused() -> None:
    class Heir(Checked):
        y: int

    with pytest.raises(TypeError, match="__post_init__"):
        frozen(Heir)


@pytest.mark.parametrize("word", ["order", "slots", "init", "eq"])
def test_it_takes_no_option_that_it_would_not_heed(word: str) -> None:
    with pytest.raises(TypeError, match=word):
        frozen(**{word: True})  # type: ignore[call-overload]


def test_it_is_what_the_standard_decorator_makes() -> None:
    @frozen(kw_only=True)
    class Ours:
        x: int
        y: tuple[int, ...] = ()

    @dataclass(frozen=True, kw_only=True)
    class Theirs:
        x: int
        y: tuple[int, ...] = ()

    assert repr(Ours(x=1)).rpartition(".")[2] == "Ours(x=1, y=())"
    assert repr(Theirs(x=1)).rpartition(".")[2] == "Theirs(x=1, y=())"
    assert Ours(x=1) == Ours(x=1)
    assert hash(Ours(x=1)) == hash(Ours(x=1))
    for cls in (Ours, Theirs):
        with pytest.raises(TypeError):
            cls(1)  # type: ignore[misc]
        with pytest.raises(AttributeError):
            cls(x=1).x = 2  # type: ignore[misc]


def test_each_decorator_has_a_name_of_its_own() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        assert "frozen import dataclass" not in text, f"{path}: say @frozen"


def test_a_class_of_many_values_has_its_own_init() -> None:
    @frozen
    class Often:
        x: int
        y: str = "a"
        values: str = "fields may have any name"

    shared = Often.__init__
    assert [Often(number).x for number in range(200)] == list(range(200))
    assert Often.__init__ is not shared
    assert Often(1) == Often(x=1, y="a")
    assert (
        repr(Often(1)).rpartition(".")[2] == "Often(x=1, y='a', values='fields may have any name')"
    )
    for wrong in ({}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError):
            Often(**wrong)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Often(1).x = 2  # type: ignore[misc]


def test_a_changed_value_is_a_replaced_one() -> None:
    @frozen
    class Pair:
        x: int
        y: int = 2

    before = Pair(1)
    assert changed(before, y=3) == replace(before, y=3) == Pair(1, 3)
    assert before == Pair(1, 2)
    with pytest.raises(TypeError, match="Pair has no z"):
        changed(before, z=3)


def test_the_standard_library_finds_the_fields_that_it_asks_for() -> None:
    @frozen(kw_only=True)
    class Base:
        x: int
        table: Mapping[str, int] = ours.field(default_factory=dict)

    @frozen
    class Heir(Base):
        y: str | None = ours.field(default=None, metadata={"kinds": "words"})
        x: int = 3

    # Noted when the class is made, and nothing is asked of the standard library until somebody does.
    assert fields_of(Heir) == (
        ("x", int, 3),
        ("table", Mapping[str, int], None),
        ("y", str | None, None),
    )
    assert Heir.__match_args__ == ("x", "y")
    assert is_dataclass(Heir)
    assert [each.name for each in fields(Heir)] == ["x", "table", "y"]
    assert fields(Heir)[2].metadata == {"kinds": "words"}
    assert [each.kw_only for each in fields(Heir)] == [False, True, False]
    assert [each.name for each in fields(Base)] == ["x", "table"]
    assert replace(Heir(4, "a"), y=None) == Heir(4, table={})
    assert Base(x=1).table is not Base(x=1).table
    match Heir(5, "b"):
        case Heir(x, y):
            assert (x, y) == (5, "b")


def test_a_field_of_the_standard_library_is_refused() -> None:
    class Foreign:
        x: tuple[int, ...] = field(default_factory=tuple)

    with pytest.raises(TypeError, match=r"use @dataclass, or kvcalc\.frozen\.field"):
        frozen(Foreign)


def test_changed_takes_a_standard_dataclass() -> None:
    @dataclass(frozen=True)
    class Theirs:
        x: int
        y: int = 2

    assert changed(Theirs(1), x=5) == Theirs(5)
    with pytest.raises(TypeError, match="Theirs has no z"):
        changed(Theirs(1), z=3)


def test_what_threads_remember_at_once_stays_within_its_bound() -> None:
    """A server's threads made room at once: a KeyError, and more kept for ever than was to be."""
    wrong: list[BaseException] = []
    asked = remembers(8)(len)

    def ask(thread: int) -> None:
        values = [(thread, number) for number in range(40)]
        try:
            for value in values * 100:
                assert asked(value) == 2
        except BaseException as error:
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    kept = [cell.cell_contents for cell in asked.__closure__ or ()]  # type: ignore[attr-defined]
    assert (wrong, [len(each) for each in kept if isinstance(each, dict)]) == ([], [8])
