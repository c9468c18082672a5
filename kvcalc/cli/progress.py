"""How far a command has come: one line on a terminal's stderr, which goes away when it is done."""

import os
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

# What is over sooner needs no line, and rich takes a twentieth of a second to import.
PATIENCE_SECONDS = 0.7


class Progress:
    """A bar of steps. ``with Progress("checking", 100) as progress: ... progress.step("a.yaml")``.

    Nothing is shown, nor rich imported, when stderr is no terminal, when the user asked for quiet,
    or before a command has taken long.
    """

    def __init__(self, what: str, total: int, *, quiet: bool) -> None:
        terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.shown = terminal and not quiet
        self._what, self._total = what, total
        self._done, self._begun = 0, monotonic()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._bar is not None:
            self._bar.stop()

    def step(self, text: str) -> None:
        """One more step begins; text: what it is about."""
        if self.shown:
            self._done += 1
            self.say(text)

    def say(self, text: str) -> None:
        """Say what is being done within a step."""
        if self._bar is None and self.shown and monotonic() - self._begun > PATIENCE_SECONDS:
            self._start()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done - 1, text=text)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        self._bar = Bar(
            TextColumn(self._what), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True)),
            console=Console(stderr=True), transient=True, expand=True,
        )  # fmt: skip
        self._bar.add_task(self._what, total=self._total, text="")
        self._bar.start()


def track(items: Iterable[Item], total: int, what: str, *, quiet: bool) -> Iterable[Item]:
    """The items, one step of ``total`` each."""
    progress = Progress(what, total, quiet=quiet)
    return _tracked(items, progress) if progress.shown else items


def _tracked(items: Iterable[Item], progress: Progress) -> Iterator[Item]:
    with progress:
        for item in items:
            progress.step(str(item) if isinstance(item, (str, os.PathLike)) else "")
            yield item
