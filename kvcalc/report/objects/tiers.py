"""``kvcalc tiers --format json``."""

from typing import TypedDict

from kvcalc.report.objects.common import EngineName, Model
from kvcalc.tiers.answer import Tier


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
