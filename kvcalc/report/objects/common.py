"""Objects that several answers have."""

from typing import Annotated, TypedDict


class Model(TypedDict):
    """Which model it is.

    Fields:
        name: its name in the spec.
        source: where its dimensions are from; several are parted by '; '.
        spec: the file or the hub id that was read.
    """

    name: str
    source: str
    spec: str


class EngineName(TypedDict):
    """Fields:
    name: as --engine takes it.
    version: the release whose rules were followed; null where there are none.
    """

    name: Annotated[str, "engine"]
    version: str | None


def named(name: str, source: tuple[str, ...], path: str) -> Model:
    """Which model an answer is of. path: its spec's."""
    return {"name": name, "source": "; ".join(source), "spec": path}


class Waste(TypedDict):
    """What an engine takes beyond the need.

    Fields:
        cause: a few words, the same for the same reason.
        why: a sentence for people.
    """

    cause: str
    bytes: int
    why: str
