"""Programs that run llama.cpp with defaults of their own."""

from collections.abc import Mapping
from typing import Any

from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.frozen import frozen


@frozen(kw_only=True)
class Runner:
    """A program. context: its tokens where none are said; None: the model's. defaults: (flag, value,
    source) of what it sets where nothing is said."""

    words: str
    context: int | None = None
    defaults: tuple[tuple[str, Any, str], ...] = ()

    def flags(
        self, given: Mapping[str, Any], version: str | None
    ) -> tuple[LlamaCppFlags, tuple[str, ...]]:
        """The flags, and what was filled in, as notes. Raises UsageError for flags it has not."""
        said = {name: value for name, value in given.items() if value is not None}
        notes = []
        for name, value, source in self.defaults:
            if name not in said:
                said[name] = value
                notes.append(f"{name} {value}: {self.words}'s default ({source})")
        return LlamaCppFlags.of(self.words, said, engine_version=version), tuple(notes)


RUNNERS: dict[str, Runner] = {
    "llama.cpp": Runner(words="llama.cpp"),
}


def runner_of(engine: str) -> Runner:
    return RUNNERS[engine]
