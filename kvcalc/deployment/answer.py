"""What ``kvcalc fit`` is asked, and what it answers."""

from fractions import Fraction
from typing import Any, Literal

from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import Overhead
from kvcalc.engines import SERVING, engine_of
from kvcalc.engines.engine import AnyEngine, Batch, Share
from kvcalc.engines.media import ServedMedia
from kvcalc.engines.result import Waste
from kvcalc.frozen import changed, frozen
from kvcalc.memory.layout import Layout
from kvcalc.memory.shown import Shown
from kvcalc.memory.workload import Workload

Verdict = Literal["fits", "tight", "does not fit"]


@frozen(kw_only=True)
class FitRequest:
    """The question.

    workload: requests that must be held at once, over all replicas of its layout.
    engine: whose pages to count; ``logical`` counts the need alone. utilization: the share of the
    memory that the engine may use, None the one that it takes by itself. max_num_batched_tokens,
    max_num_seqs: its scheduler step; None takes what the engine chooses for the device, and no fewer
    requests than are asked for. eager: no CUDA graphs. notes: what was assumed of the question.
    kv_stated: the cache's format was said, so that bf16 is not what the engine takes by itself.
    media: which media the server takes; the planner's model is without what it does not load.
    """

    workload: Workload
    engine: str = SERVING
    engine_version: str | None = None
    utilization: Fraction | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    eager: bool = False
    notes: tuple[str, ...] = ()
    kv_stated: bool = False
    media: ServedMedia = ServedMedia()

    @property
    def layout(self) -> Layout:
        return self.workload.layout

    @property
    def sequences(self) -> int:
        """Requests of one replica."""
        return -(-self.workload.batch_size // self.layout.data)

    @property
    def record(self) -> AnyEngine:
        """The engine itself. Raises UsageError for a name that none has."""
        return engine_of(self.engine)

    @property
    def engine_words(self) -> str:
        """The engine as sentences name it."""
        return self.record.words

    def of(self, **fields: Any) -> "FitRequest":
        """The same question about a workload with other fields."""
        return changed(self, workload=changed(self.workload, **fields))


def step_of(device: Accelerator, request: FitRequest, sequences: int | None = None) -> Batch | None:
    """The scheduler's step: as asked, or as the engine's server chooses it; None where it takes none.

    sequences: of one replica, in place of the request's.
    """
    chooses = request.record.step
    if chooses is None:
        return None
    usual = chooses(device)
    requests = request.max_num_seqs or max(usual.requests, sequences or request.sequences)
    tokens = usual.tokens
    if request.max_num_seqs is not None and request.workload.context_tokens:
        tokens = min(tokens, request.max_num_seqs * request.workload.context_tokens)
    return Batch(request.max_num_batched_tokens or max(tokens, requests), requests)


@frozen
class Device:
    """One device of one stage. free: what is left for the cache; least, most: its band.

    cache_bytes: the logical need of the requests. reserved_bytes: what the engine takes for them;
    reserved_bytes - cache_bytes is the sum of ``waste``. beside: what of the weights is loaded beside the
    model, by part.
    """

    stage: int
    layers: range
    weight_bytes: int
    overheads: tuple[Overhead, ...]
    free: int
    free_least: int
    free_most: int
    cache_bytes: int
    reserved_bytes: int
    waste: tuple[Waste, ...] = ()
    beside: tuple[tuple[str, int], ...] = ()

    @property
    def first_and_last(self) -> tuple[int, int]:
        """Of its layers."""
        return self.layers.start, self.layers.stop - 1


@frozen
class Change:
    """One way to make it fit, which was asked about. what: options to add to the command.

    cost: what they cost, in words. command: the whole command line with them.
    """

    what: str
    cost: str
    command: str = ""


@frozen(kw_only=True)
class Fit(Shown):
    """The answer. longest_context: for the batch; largest_batch: for the context; 0: none, None: any.

    Each with ``_least``, what holds at the lower end of the memory's band, too. share: of the memory
    that the engine may use. fewest: the layout
    with the fewest devices that holds the request; None: none up to 64. measured: whether the
    overheads are of this device and engine. version: the engine's, whose rules these are.
    """

    model: str
    model_context: int | None
    device: Accelerator
    request: FitRequest
    version: str | None
    measured: bool
    share: Share
    budget: int
    devices: tuple[Device, ...]
    verdict: Verdict
    longest_context: int | None
    longest_context_least: int | None
    largest_batch: int | None
    largest_batch_least: int | None
    fewest: Layout | None
    fewest_verdict: Verdict
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it holds, be it tight."""
        return self.verdict != "does not fit"

    @property
    def figures(self) -> object:
        fewest = None if self.fewest is None else (self.fewest.tensor, self.fewest.pipeline)
        return (self.verdict, self.budget, self.devices, fewest, self.fewest_verdict,
                self.longest_context, self.longest_context_least, self.largest_batch,
                self.largest_batch_least)  # fmt: skip
