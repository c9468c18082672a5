"""``kvcalc fit --format json``: four questions, four objects."""

from typing import Literal, NotRequired, TypedDict

from kvcalc.deployment.answer import Change
from kvcalc.engines.result import Waste
from kvcalc.report.objects.common import EngineName
from kvcalc.report.objects.estimate import Media


class Device(TypedDict):
    """The accelerator.

    Fields:
        bytes: what programs see of it.
        measured: whether that was printed by a driver, or is the vendor's figure.
    """

    name: str
    bytes: int
    measured: bool


class BandedDevice(TypedDict):
    """The same with the band that its memory is known to."""

    name: str
    bytes: int
    least_bytes: int
    most_bytes: int
    measured: bool
    source: str


class ServingWorkload(TypedDict):
    """The question."""

    context_tokens: int
    batch_size: int
    encoder_tokens: int
    dtype: str
    kv_dtype: str
    media: NotRequired[list[Media]]


class Ranks(TypedDict):
    """A layout; devices is how many it needs."""

    tensor: int
    pipeline: int
    data: int
    expert: int
    devices: int


class Overhead(TypedDict):
    """What an engine takes beside weights and cache, with the band of the evidence."""

    name: str
    bytes: int
    least_bytes: int
    most_bytes: int
    formula: str


class Stage(TypedDict):
    """One device of a pipeline stage.

    Fields:
        layers: the first and the last.
        beside_bytes: what of the weights is loaded beside the model: mtp, draft, adapters.
        cache_bytes: the need.
        reserved_bytes: what the engine takes for it.
    """

    layers: list[int]
    weights_bytes: int
    beside_bytes: dict[str, int]
    overheads: list[Overhead]
    free_bytes: int
    free_least_bytes: int
    free_most_bytes: int
    cache_bytes: int
    reserved_bytes: int
    waste: list[Waste]


class Fit(TypedDict):
    """One model on one kind of accelerator (a list with --gpus all).

    Fields:
        budget_bytes: of a device, what the engine may use.
        longest_context: for the batch; 0: none, null: any. _least: at the band's lower end.
        largest_batch: for the context; likewise.
        fewest: the smallest layout that holds the request.
    """

    model: str
    device: BandedDevice
    workload: ServingWorkload
    parallelism: Ranks
    engine: EngineName
    overheads_measured: bool
    budget_bytes: int
    fits: bool
    verdict: str
    stages: list[Stage]
    longest_context: int | None
    longest_context_least: int | None
    largest_batch: int | None
    largest_batch_least: int | None
    fewest: Ranks | None
    changes: list[Change]
    assumptions: list[str]


class LocalWorkload(TypedDict):
    """The question; kv_dtype is KEYS:VALUES."""

    context_tokens: int
    batch_size: int
    dtype: str
    kv_dtype: str
    media: NotRequired[list[Media]]


class Kept(TypedDict):
    """What the server keeps in RAM beside."""

    name: str
    most_bytes: int


class Beside(TypedDict):
    """The projector or the draft on a device; compute_bytes: at most, null where not predicted."""

    name: str
    model_bytes: int
    cache_bytes: int
    compute_bytes: int | None
    compute_least_bytes: int
    output_bytes: int


class Use(TypedDict):
    """A device, or the host as the last.

    Fields:
        compute_bytes: at most; compute_least_bytes: at least.
        outside_bytes: what drivers hold beside llama.cpp's buffers.
    """

    name: str
    bytes: int
    layers: int
    model_bytes: int
    cache_bytes: int
    compute_bytes: int
    compute_least_bytes: int
    output_bytes: int
    outside_bytes: int
    outside_least_bytes: int
    kept: list[Kept]
    free_bytes: int
    beside: NotRequired[list[Beside]]


class Placement(TypedDict):
    """llama.cpp's flags; layers are those of each device."""

    n_gpu_layers: int
    n_cpu_moe: int
    layers: list[int]


class LocalChange(TypedDict):
    """Options to add, and what they do. read_bytes_per_token: read of RAM for a token then."""

    what: str
    effect: str
    read_bytes_per_token: int


class LocalFit(TypedDict):
    """One model under llama.cpp on devices and RAM.

    Fields:
        read_bytes_per_token: of RAM, active weights and cache.
        command: the line to paste.
    """

    model: str
    engine: EngineName
    workload: LocalWorkload
    ram_bytes: int | None
    reserve_bytes: int
    devices: list[Use]
    placement: Placement
    fits: bool
    verdict: str
    read_bytes_per_token: int
    longest_context: int | None
    command: str
    changes: list[LocalChange]
    assumptions: list[str]


class LeftOut(TypedDict):
    """A type that was not asked about, and why."""

    dtype: str
    reason: str


class LocalFiles(TypedDict):
    """One model under llama.cpp, file by file, each smaller than the one before.

    Fields:
        whole: the widest type that reads nothing of RAM; null: none.
        widest: the widest that runs at all.
    """

    model: str
    fits: bool
    whole: str | None
    widest: str | None
    files: list[LocalFit]
    left_out: list[LeftOut]


class ShortWorkload(TypedDict):
    """The question."""

    context_tokens: int
    batch_size: int
    kv_dtype: str


class Way(TypedDict):
    """A model in one format; weights_bytes is null where less than they take is more than there is.

    Fields:
        command: the line of kvcalc fit that says more.
        run: the engine's own command, empty where kvcalc knows none.
    """

    dtype: str
    verdict: Literal["fits", "tight", "does not fit"]
    free_bytes: int | None
    longest_context: int | None
    largest_batch: int | None
    command: str
    run: str
    weights_bytes: int | None


class Choice(TypedDict):
    """One of several models.

    Fields:
        model_context: the longest that it was made for.
        best: the widest format that fits.
        reason: why it could not be asked about.
    """

    model: str
    parameters: int | None
    context_tokens: int
    model_context: int | None
    fits: bool
    best: Way | None
    formats: list[Way]
    reason: str | None


class Choices(TypedDict):
    """Which of several models fit, or which format of one."""

    device: Device
    engine: EngineName
    workload: ShortWorkload
    devices: int
    fits: bool
    models: list[Choice]
    assumptions: list[str]


class Share(TypedDict):
    """A model that shares the device.

    Fields:
        bytes: what it takes; null where that is more than all of it.
        percent: the engine's share; null for an engine that is told none.
    """

    model: str
    dtype: str
    weights_bytes: int
    bytes: int | None
    percent: int | None
    command: str


class Together(TypedDict):
    """Several models on one device, or on equal ones (parallelism)."""

    device: Device
    parallelism: NotRequired[Ranks]
    engine: EngineName
    workload: ShortWorkload
    fits: bool
    verdict: str
    models: list[Share]
    free_bytes: int
