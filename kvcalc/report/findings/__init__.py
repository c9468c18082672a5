"""What other programs read of ``kvcalc check``: one file per format, each ``render(checked) -> str``."""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from kvcalc.checks.run import Report
from kvcalc.errors import Problem
from kvcalc.frozen import frozen

# The word of --format -> the module.
PRINTERS = {
    "text": "kvcalc.report.findings.text",
    "github": "kvcalc.report.findings.github",
    "sarif": "kvcalc.report.findings.sarif",
    "junit": "kvcalc.report.findings.junit",
    "gitlab": "kvcalc.report.findings.gitlab",
}


@frozen
class Checked:
    """root: of the repository, which paths are told from. when: ``2026-05-01T12:00:00``, without a
    zone as JUnit's schema wants it. strict: whether warnings count as failures."""

    reports: tuple[Report, ...]
    root: Path
    when: str
    strict: bool = False

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of all reports, file by file."""
        return tuple(problem for report in self.reports for problem in report.problems)


class Printer(Protocol):
    """What a format's module has."""

    def render(self, checked: Checked) -> str:
        """The findings as text."""


def render(word: str, checked: Checked) -> str:
    """The findings in a format. word: one of ``PRINTERS``."""
    return cast(Printer, import_module(PRINTERS[word])).render(checked)
