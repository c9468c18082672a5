"""Options that an engine does not read: refused, or said, since an answer without them is another's."""

from collections.abc import Mapping

from kvcalc.engines import engine_of
from kvcalc.engines.flags import flags_of, option_of
from kvcalc.engines.media import ServedMedia
from kvcalc.errors import UsageError

# Engines that are llama.cpp, with defaults of their own.
LOCAL = ("llama.cpp", "ollama", "lm-studio")


def refuse_needless(engine: str, given: Mapping[str, object]) -> None:
    """Raise UsageError for what was said to an engine that places a model by its own table.

    given: the options of a server (its share of the memory, its step, its ranks beside --tp and --pp),
    each with its value. Such an engine has none of them.
    """
    record = engine_of(engine)
    if record.placed is None:
        return
    for option, value in given.items():
        if value:
            raise UsageError(f"{record.words} has no {option}: leave it out")


def check_served(engine: str, media: ServedMedia) -> None:
    """Raise UsageError for an option about media that the engine has not."""
    record = engine_of(engine)
    own = {option_of(word) for word in flags_of(record.flags)}
    foreign = [
        name for name, value in media.options.items() if value is not None and name not in own
    ]
    if foreign:
        raise UsageError(f"{record.words} has no {' or '.join(foreign)}")


def needless_eager(engine: str, eager: bool) -> tuple[str, ...]:
    """The note on running without CUDA graphs where the engine's graphs take nothing that is counted."""
    record = engine_of(engine)
    counted = record.takes is not None and "CUDA graphs" in record.takes(None)
    if not eager or counted:
        return ()
    return (f"no CUDA graphs: that changes nothing here, {record.words} counts none",)


def refuse_foreign(engine: str, given: Mapping[str, object]) -> None:
    """Refuse what only llama.cpp has. given: option -> value. Raises UsageError."""
    said = [option for option, value in given.items() if value is not None]
    if said:
        raise UsageError(
            f"{engine_of(engine).words} has no {' or '.join(said)}: --engine llama.cpp has"
        )
