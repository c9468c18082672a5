"""Answers that show themselves: as the object of ``--format json``, as rows, as HTML in a notebook.

How an answer is shown is said above, where reports are written (kvcalc/api/views.py), which is asked for
when the first one is shown.
"""

from importlib import import_module
from typing import Any, Protocol, Self

from kvcalc.frozen import changed


class View(Protocol):
    """One answer, made to be shown."""

    def to_dict(self) -> dict[str, Any]: ...
    def rows(self) -> list[dict[str, Any]]: ...
    def html(self) -> str: ...


class Shown:
    """What every answer of the library can do."""

    @property
    def figures(self) -> object:
        """Every number and verdict, without the words of the question, commands and notes: two questions
        for which these are equal have the same answer."""
        raise NotImplementedError(type(self).__name__)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was assumed, and what is to be known beside the figures."""
        found: Any = self
        return tuple(found.notes)

    def noted(self, notes: tuple[str, ...]) -> Self:
        """The same with more of them."""
        return changed(self, notes=(*self.sentences, *notes)) if notes else self

    def _view(self) -> View:
        view: View = import_module("kvcalc.api.views").view_of(self)
        return view

    def to_dict(self) -> dict[str, Any]:
        """The object that ``--format json`` prints."""
        return self._view().to_dict()

    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``--format csv``, numbers as numbers: ``pandas.DataFrame(answer.rows())``."""
        return self._view().rows()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self._view().html()
