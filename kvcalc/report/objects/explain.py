"""``kvcalc explain --format json``."""

from typing import NotRequired, TypedDict

from kvcalc.explanation import Symbol


class Sourced(TypedDict):
    """Which model it is, and every source of its dimensions."""

    name: str
    source: list[str]


class Elements(TypedDict):
    """What the equations come to: elements a position, elements a sequence."""

    position: NotRequired[int]
    fixed: NotRequired[int]


class Told(TypedDict):
    """What a mechanism says of itself.

    Fields:
        per_position: elements of a cached position, in the symbols' letters; empty: none.
        fixed: elements of a sequence whatever its length.
        positions: how many are kept, in words.
    """

    title: str
    symbols: list[Symbol]
    source: str
    stored: str
    not_stored: str
    per_position: str
    fixed: str
    positions: str
    notes: list[str]
    elements: Elements


class Tensor(TypedDict):
    """One layer's, one sequence's; shape is of one position or of the state."""

    name: str
    shape: list[int]
    extent: str
    dtype: str
    positions: int
    position_bytes: int
    bytes: int


class Group(TypedDict):
    """Layers of one mechanism; bytes are of all of them."""

    block: str
    mechanism: str
    layer_ranges: list[list[int]]
    count: int
    explanation: Told | None
    tensors: list[Tensor]
    bytes: int


class TowerTensor(TypedDict):
    """A tower's tensor; parameters are those of all layers that own one."""

    name: str
    shape: list[int]
    layers: int
    parameters: int
    buffer: bool


class Tower(TypedDict):
    """A tower or projector beside the language model."""

    name: str
    kind: str
    component: str
    parameters: int
    tensors: list[TowerTensor]


class Explained(TypedDict):
    """A model. peak_tokens: where the most is held, at or below the context."""

    model: Sourced
    context_tokens: int
    encoder_tokens: int
    peak_tokens: int
    groups: list[Group]
    bytes: int
    towers: NotRequired[list[Tower]]
    wrong_claims: list[str]
    assumptions: list[str]


class Reference(TypedDict):
    """A mechanism, or with --all every one: its text."""

    name: str
    text: str
