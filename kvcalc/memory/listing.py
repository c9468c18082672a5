"""Which of the shipped models are meant, in which order: what ``kvcalc models`` asks."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from kvcalc.errors import NotFoundError, UsageError
from kvcalc.frozen import frozen
from kvcalc.names import hint
from kvcalc.units import parse_tokens

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,9})?)(?P<unit>[kmbt]?)", re.IGNORECASE)
_MONTH = re.compile(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])")
_PARTS = ("text", "vision", "audio")

# The word of --sort -> what a record is sorted by; the newest and what is not known come as said there.
ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda record: record["name"],
    "family": lambda record: (record["family"], record["parameters"]),
    "size": lambda record: record["parameters"],
    "active": lambda record: record["active_parameters"],
    "context": lambda record: record["context"] or 0,
    "cache": lambda record: record["next_token_bytes"],
    "oldest": lambda record: record["released"] or "9999",
    "newest": lambda record: _reversed(record["released"] or "0000"),
}


@frozen
class Wanted:
    """What is asked of the list.

    attention: kinds, of which a model has one at least. family: the folder's name. size: parameters
    from and to, None where open. modality: parts that a model has beside text. context: the tokens
    that it was made for, at least. since: the month in which it came out, or later. newest: as many
    of those that came out last. sort: a word of ``ORDERS``; backwards turns the order round.
    """

    attention: tuple[str, ...] = ()
    family: str | None = None
    size: tuple[int | None, int | None] = (None, None)
    modality: tuple[str, ...] = ()
    context: int | None = None
    since: str | None = None
    newest: int | None = None
    sort: str = "name"
    backwards: bool = False


def wanted(
    attention: str | None = None,
    family: str | None = None,
    size: str | None = None,
    modality: str | None = None,
    context: str | None = None,
    since: str | None = None,
    newest: int | None = None,
    sort: str | None = None,
    backwards: bool = False,
) -> Wanted:
    """The question as it was written. Raises UsageError naming the option and what it takes."""
    if since is not None and not _MONTH.fullmatch(since):
        raise UsageError(f"--since {since}: a month, such as 2026-05")
    if newest is not None and newest < 1:
        raise UsageError(f"--newest {newest}: a number of models, 1 or more")
    order = sort or ("name" if newest is None else "newest")
    if order not in ORDERS:
        near = hint(order, ORDERS) or f"one of {', '.join(ORDERS)}"
        raise UsageError(f"--sort {order}: {near}")
    parts = tuple(modality.lower().split(",")) if modality else ()
    for part in parts:
        if part not in _PARTS:
            raise UsageError(
                f"--modality {part}: {hint(part, _PARTS) or f'one of {_listed(_PARTS)}'}"
            )
    try:
        tokens = None if context is None else parse_tokens(context)
    except ValueError as error:
        raise UsageError(f"--context {error}") from None
    kinds = tuple(attention.lower().split(",")) if attention else ()
    return Wanted(kinds, family, size_range(size), parts, tokens, since, newest, order, backwards)


def size_range(text: str | None) -> tuple[int | None, int | None]:
    """``7b-14b``, ``70b-``, ``-3b``: parameters from and to, both included, None where open.

    Raises UsageError: a single number is refused, as 8b could mean 8.03 billion.
    """
    if text is None:
        return None, None
    low, dash, high = text.strip().partition("-")
    if not dash or not (low or high):
        raise UsageError(f"--size {text}: from and to, such as 7b-9b, 70b- or -3b")
    bounds = (_count(low, text), _count(high, text))
    low_bound, high_bound = bounds
    if low_bound is not None and high_bound is not None and low_bound > high_bound:
        raise UsageError(f"--size {text}: the larger number stands first")
    return bounds


def _count(word: str, text: str) -> int | None:
    if not word:
        return None
    match = _COUNT.fullmatch(word)
    if match is None:
        raise UsageError(f"--size {text}: '{word}' is no number of parameters, such as 7b or 350m")
    whole, _, rest = match["number"].partition(".")
    number: int = int(whole + rest) * _UNITS[match["unit"].lower()]
    parts: int = 10 ** len(rest)
    return number // parts


def chosen(records: Iterable[dict[str, Any]], question: Wanted) -> list[dict[str, Any]]:
    """The records that are meant, in order. Raises NotFoundError where none is, naming what there is."""
    every = list(records)
    found = [record for record in every if _fits(record, question)]
    if question.newest is not None:
        dated = [record for record in found if record["released"]]
        found = sorted(dated, key=lambda record: (_reversed(record["released"]), record["name"]))
        found = found[: question.newest]
    if not found:
        raise NotFoundError(_none(every, question))
    # Equal ones stand by name in either order.
    found.sort(key=lambda record: record["name"])
    found.sort(key=ORDERS[question.sort], reverse=question.backwards)
    return found


def _fits(record: dict[str, Any], question: Wanted) -> bool:
    kinds = record["attention"].split("+")
    low, high = question.size
    return (
        (not question.attention or any(kind in kinds for kind in question.attention))
        and question.family in (None, record["family"])
        and (low is None or record["parameters"] >= low)
        and (high is None or record["parameters"] <= high)
        and all(part in record["modality"].split("+") for part in question.modality)
        and (question.context is None or (record["context"] or 0) >= question.context)
        and (question.since is None or (record["released"] or "") >= question.since)
    )


def _none(every: list[dict[str, Any]], question: Wanted) -> str:
    """Why no model is meant: a word that none has, else all of the question together."""
    kinds = sorted({kind for record in every for kind in record["attention"].split("+")})
    families = sorted({record["family"] for record in every})
    strange = [kind for kind in question.attention if kind not in kinds]
    if strange:
        told = hint(strange[0], kinds) or f"there are {_listed(kinds)}"
        return f"no model has attention of kind '{strange[0]}'; {told}"
    if question.family is not None and question.family not in families:
        told = hint(question.family, families) or f"there are {_listed(families)}"
        return f"no family '{question.family}'; {told}"
    return "no shipped model is all that was asked for"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _reversed(month: str) -> tuple[int, ...]:
    """A key that puts later months first."""
    return tuple(-ord(sign) for sign in month)
