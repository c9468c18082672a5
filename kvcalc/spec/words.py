"""Words of somebody else's file, as a message quotes them: short, printable, with the nearest known one."""

from collections.abc import Collection

# What a message quotes of a file.
MAX_QUOTED = 60
# Among more words than these the nearest one is not looked for.
MAX_KNOWN = 200


def shortened(text: str) -> str:
    """A word of the file for a field path: printable, and not longer than a message may get."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 3]}..."


def quoted(text: str) -> str:
    """A word of the file in quotes, as ``shortened`` gives it."""
    return f"'{shortened(text)}'"


def near(word: str, known: Collection[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest known word, or nothing."""
    if len(word) > MAX_QUOTED or len(known) > MAX_KNOWN:
        return ""
    from difflib import get_close_matches

    matches = get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
