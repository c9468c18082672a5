"""``kvcalc tiers --format json``."""

from typing import TypedDict

from kvcalc.report.objects.common import EngineName, Model


class Session(TypedDict):
    """What was asked: a session's tokens, and the ranks."""

    context_tokens: int
    tensor: int


class Gpu(TypedDict):
    """A session in the engine's own pool.

    Fields:
        session_bytes: on all ranks.
        logical_bytes: its need.
        transfer_seconds: at the link's speed; null without, and where windows make it another figure.
    """

    session_bytes: int
    logical_bytes: int
    transfer_seconds: float | None


class Tier(TypedDict):
    """RAM or disk. What the question did not say is null.

    Fields:
        unit_tokens: null where groups of layers differ.
        unit_bytes: of one on all ranks, padding included.
        kept_tokens: of the session that are read back.
        tokens: held, of such sessions.
        requests: of the file of lengths, held at once.
        flag: what makes the tier so large in the engine.
    """

    name: str
    unit: str
    unit_tokens: int | None
    unit_bytes: int
    session_units: int
    session_bytes: int
    kept_tokens: int
    bytes: int | None
    num_units: int | None
    tokens: int | None
    sessions: int | None
    requests: int | None
    requests_bytes: int | None
    flag: str | None
    move_seconds: float | None


class Tiers(TypedDict):
    """An engine's tiers beyond the GPU."""

    model: Model
    engine: EngineName
    workload: Session
    gpu: Gpu
    tiers: list[Tier]
    num_requests: int | None
    rules: list[str]
    notes: list[str]
