"""``kvcalc.models``: the shipped models, filtered and sorted as the command does."""

from typing import Any

from kvcalc.memory.listing import chosen, wanted
from kvcalc.memory.shipped import records
from kvcalc.spec.catalog import match


def models(
    pattern: str = "",
    *,
    attention: str | None = None,
    family: str | None = None,
    size: str | None = None,
    modality: str | None = None,
    context: int | str | None = None,
    since: str | None = None,
    newest: int | None = None,
    sort: str | None = None,
    reverse: bool = False,
) -> list[dict[str, Any]]:
    """A record for each shipped model that is meant: name, family, parameters, context, and so on.

    pattern: part of a name or family, or a glob. attention: kinds of which it has one (``"mla,gqa"``).
    size: ``"7b-14b"``, ``"70b-"``, ``"-3b"``. modality: ``"vision,audio"``. context: tokens, at least.
    since: a month. newest: how many of the last. sort: ``"name"``, ``"size"``, ``"context"``,
    ``"newest"``, ... Raises UsageError and NotFoundError as the command does.

    >>> [each["name"] for each in models(attention="mla", size="-20b", sort="size")]
    """
    tokens = None if context is None else str(context)
    question = wanted(attention, family, size, modality, tokens, since, newest, sort, reverse)
    return chosen(records(match(pattern).values()), question)
