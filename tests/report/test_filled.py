"""An answer's object is written from its source by the type of it; a table's rows by its columns."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Annotated, NotRequired, TypedDict

import pytest

from kvcalc.frozen import frozen
from kvcalc.report.cells import Count, words
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, rows_of


class Part(TypedDict):
    name: str
    note: str | None


class Whole(TypedDict):
    ratio: float | None
    parts: list[Part]
    more: NotRequired[list[int]]
    least: int


class Named(TypedDict):
    words: Annotated[str, "name"]
    told: Annotated[str | None, "note"]


class Renamed(TypedDict):
    first: Annotated[Named, "parts.one"]
    whole: Annotated[Whole, ""]
    named: NotRequired[Annotated[str, "name"]]


@frozen
class One:
    name: str
    note: str = ""


@frozen
class Source:
    parts: tuple[One, ...]
    ratio: Fraction | None = None
    more: tuple[int, ...] = ()


def test_fields_are_the_sources_attributes_in_the_order_of_the_type() -> None:
    found = filled(Whole, Source((One("a"), One("b", "x")), Fraction(1, 4)), least=3)
    assert list(found.items()) == [
        ("ratio", 0.25),
        ("parts", [{"name": "a", "note": None}, {"name": "b", "note": "x"}]),
        ("least", 3),
    ]


def test_a_type_names_the_attribute_that_a_field_is() -> None:
    source = SimpleNamespace(parts=SimpleNamespace(one=One("a")))
    whole = filled(Whole, Source(()), least=1)
    found = filled(Renamed, source, whole=whole)
    assert found == {"first": {"words": "a", "told": None}, "whole": whole}
    source = SimpleNamespace(parts=(), ratio=None, more=(), least=2, name="b")
    found = filled(Renamed, source, first={})
    assert found["whole"] == {"ratio": None, "parts": [], "least": 2}
    assert found["named"] == "b"


def test_what_need_not_be_there_is_there_where_there_is_something() -> None:
    assert filled(Whole, Source((), more=(1, 2)), least=0)["more"] == [1, 2]
    assert filled(Whole, Source(()), least=0, more=[])["more"] == []


def test_a_field_that_nothing_says_and_one_that_the_type_lacks_are_errors() -> None:
    with pytest.raises(AttributeError, match="least"):
        filled(Whole, Source(()))
    with pytest.raises(AssertionError, match="Whole has no most"):
        filled(Whole, Source(()), least=1, most=2)


def test_a_cell_is_the_items_attribute_or_what_the_column_takes_of_it() -> None:
    columns = (Column("a", "name"), Column("b", "", Count, lambda one: len(one.note) or None))
    rows = rows_of(columns, (One("x", "four"), One("y")), depth=1)
    assert [[words(cell) for cell in row.cells] for row in rows] == [["x", "4"], ["y", ""]]
    assert {row.depth for row in rows} == {1}
