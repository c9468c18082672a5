"""How an engine keeps sessions in one tier: the unit it allocates, and how many of them a session takes.

A session is a request's cache that is kept when the request has ended, to be read back when its text
goes on. Units are whole: what does not fill one is not kept, or takes a whole one, as the engine does.
"""

from collections.abc import Callable

from kvcalc.frozen import frozen


@frozen(kw_only=True)
class Storage:
    """One tier of an engine on one machine.

    name: ``host`` or ``disk``. unit: ``chunk``, ``page``, ``block``. unit_tokens: tokens of one; None
    where groups of layers differ. unit_bytes: of one on all ranks, padding included.
    units: of a session of so many tokens. kept: tokens of it that are read back. count: units that so
    many bytes hold, on all ranks. least: the bytes that hold one. flag: what makes the tier so large;
    empty: it has no limit of its own.
    """

    name: str
    unit: str
    unit_tokens: int | None
    unit_bytes: int
    units: Callable[[int], int]
    kept: Callable[[int], int]
    count: Callable[[int], int]
    least: int
    flag: Callable[[int], str]


@frozen(kw_only=True)
class Plan:
    """Every tier of an engine. words: as sentences name it. rules: each with its function."""

    engine: str
    words: str
    version: str
    tiers: tuple[Storage, ...]
    rules: tuple[str, ...]
    notes: tuple[str, ...] = ()
