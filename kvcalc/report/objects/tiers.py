"""``kvcalc tiers --format json``."""

from typing import Annotated, TypedDict

from kvcalc.report.objects.common import EngineName, Model
from kvcalc.tiers.answer import Tier


class Session(TypedDict):
    """What was asked: a session's tokens, and the ranks."""

    context_tokens: int
    tensor: Annotated[int, "ranks"]


class Gpu(TypedDict):
    """A session in the engine's own pool.

    Fields:
        session_bytes: on all ranks.
        logical_bytes: its need.
        transfer_seconds: at the link's speed; null without, and where windows make it another figure.
    """

    session_bytes: Annotated[int, "gpu_bytes"]
    logical_bytes: int
    transfer_seconds: Annotated[float | None, "transfer"]


class Tiers(TypedDict):
    """An engine's tiers beyond the GPU."""

    model: Model
    engine: Annotated[EngineName, ""]
    workload: Annotated[Session, ""]
    gpu: Annotated[Gpu, ""]
    tiers: list[Tier]
    num_requests: int | None
    rules: list[str]
    notes: list[str]
