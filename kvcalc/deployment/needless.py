"""Options that an engine does not read: refused, or said, since an answer without them is another's.

An answer that is the same without an option is no answer to it, and says so. Whether it is the same is
found by asking again without it, not by lists of what an engine reads: those would grow old.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from kvcalc.engines import engine_of
from kvcalc.engines.flags import flags_of, option_of
from kvcalc.engines.media import ServedMedia
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.memory.shown import Shown

Q = TypeVar("Q")
A = TypeVar("A", bound=Shown)

DRAFT_TOKENS = (
    "--speculative-tokens says nothing here: name what drafts (--draft, --mtp-layers), or an --engine such "
    "as vllm"
)
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


def refuse_foreign(engine: str, given: Mapping[str, object]) -> None:
    """Refuse what only llama.cpp has. given: option -> value. Raises UsageError."""
    said = [option for option, value in given.items() if value is not None]
    if said:
        raise UsageError(
            f"{engine_of(engine).words} has no {' or '.join(said)}: --engine llama.cpp has"
        )


def changing_nothing(
    given: Iterable[tuple[str, str, Q]], ask: Callable[[Q], A], found: A
) -> Iterator[str]:
    """A sentence for each option without which the answer is the same.

    given: (option, what it is about, the question without it). ask: its answer. found: that of the whole
    question. An option that a note of the answer is due to was no silence.
    """
    said = set(found.sentences)
    for option, about, without in given:
        try:
            less = ask(without)
        except KvcalcError:
            continue  # it is needed
        if said.issubset(less.sentences) and less.figures == found.figures:
            yield f"{option} changes nothing here ({about}): without it the answer is the same"


def about(engine: str, word: str) -> str:
    """What an engine's flag is about, as its help has it: ``number format of recurrent states``."""
    text = flags_of(engine_of(engine).flags)[word].help.partition(" (")[0].partition(":")[0]
    first = text.partition(" ")[0]
    # A word in capitals keeps them: MTP.
    lowered = text if first[1:2].isupper() else text[:1].lower() + text[1:]
    return lowered.rstrip(".")


def as_said(word: str, value: object) -> str:
    """How a flag was written: ``--no-prefix-caching``."""
    option = option_of(word)
    return f"--no-{option[2:]}" if value is False else option
