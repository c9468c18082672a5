"""What commands and the library answer: one file for each kind of answer.

A file has ``sheet``, which says an answer to people, and ``to_object``, which says it to programs, an
object or a list of them. What is answered without a class of its own has ``answer`` in its file.
"""

from importlib import import_module
from typing import Any, Protocol, cast

from kvcalc.memory.shown import Shown
from kvcalc.report.sheet import Answer, Sheet

# An answer's class -> its file, imported where there is such an answer.
FILES = {
    "Estimate": "estimate",
    "EngineEstimate": "engines",
    "AllEngines": "all_engines",
    "TrafficAnswer": "traffic",
    "CapacityResult": "capacity",
    "Fit": "fit",
    "Everywhere": "everywhere",
    "Choices": "choice",
    "Together": "together",
    "LocalFit": "local",
    "LocalFiles": "local_files",
    "LogAnswer": "log",
    "Tiers": "tiers",
}


class File(Protocol):
    """What an answer's file has."""

    def sheet(self, found: Any, /, **how: bool) -> Sheet: ...
    def to_object(self, found: Any, /) -> Any: ...


def answer(*found: Shown, **how: bool) -> Answer:
    """An answer, or those of several models, for whatever format. how: what their sheets show only where
    it is asked for, and whether it is."""
    file = cast(File, import_module(f"{__name__}.{FILES[type(found[0]).__name__]}"))

    def one_or_more() -> Any:
        objects = [file.to_object(each) for each in found]
        return objects[0] if len(objects) == 1 else objects

    shown = {name: True for name, asked in how.items() if asked}
    return Answer(lambda: [file.sheet(each, **shown) for each in found], one_or_more)
