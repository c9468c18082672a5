"""One file per format, for the answers of all commands: sheets or objects in, text out.

A format is a module with ``render(answer, quiet)``, which yields text, and its word here; every
command has it then. What a format must escape it escapes in its own file. Formats of one command
alone, for machines that read findings, are in ``kvcalc/report/findings/``.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from kvcalc.report.sheet import Answer

# The word of --format -> the module.
PRINTERS = {
    "table": "kvcalc.report.formats.terminal",
    "json": "kvcalc.report.formats.json",
    "markdown": "kvcalc.report.formats.markdown",
    "csv": "kvcalc.report.formats.csv",
    "html": "kvcalc.report.formats.html",
}
# Where an answer's notes have no place.
WITHOUT_NOTES = ("csv",)


class Printer(Protocol):
    """What a format's module has."""

    def render(self, answer: "Answer", quiet: bool) -> Iterator[str]:
        """The answer as text, in pieces that may be written one by one. quiet: without notes; what
        programs read is whole all the same."""


def render(word: str, answer: "Answer", quiet: bool = False) -> Iterator[str]:
    """The answer in a format. word: one of ``PRINTERS``."""
    return cast(Printer, import_module(PRINTERS[word])).render(answer, quiet)


def as_text(word: str, answer: "Answer", quiet: bool = False) -> str:
    """The same in one piece."""
    return "".join(render(word, answer, quiet))
