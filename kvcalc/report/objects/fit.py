"""``kvcalc fit --format json``: four questions, four objects."""

from typing import Annotated, NotRequired, TypedDict

from kvcalc.deployment.answer import Change
from kvcalc.deployment.choice import Way
from kvcalc.deployment.overhead import Overhead
from kvcalc.engines.llama_cpp.beside import LeftOut, LocalChange
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
    least_bytes: Annotated[int, "least"]
    most_bytes: Annotated[int, "most"]
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
    expert: Annotated[int, "expert_ranks"]
    devices: int


class Stage(TypedDict):
    """One device of a pipeline stage.

    Fields:
        layers: the first and the last.
        beside_bytes: what of the weights is loaded beside the model: mtp, draft, adapters.
        cache_bytes: the need.
        reserved_bytes: what the engine takes for it.
    """

    layers: Annotated[list[int], "first_and_last"]
    weights_bytes: Annotated[int, "weight_bytes"]
    beside_bytes: Annotated[dict[str, int], "beside"]
    overheads: list[Overhead]
    free_bytes: Annotated[int, "free"]
    free_least_bytes: Annotated[int, "free_least"]
    free_most_bytes: Annotated[int, "free_most"]
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
    workload: Annotated[ServingWorkload, "request.workload"]
    parallelism: Annotated[Ranks, "request.layout"]
    engine: EngineName
    overheads_measured: Annotated[bool, "measured"]
    budget_bytes: Annotated[int, "budget"]
    fits: bool
    verdict: str
    stages: Annotated[list[Stage], "devices"]
    longest_context: int | None
    longest_context_least: int | None
    largest_batch: int | None
    largest_batch_least: int | None
    fewest: Ranks | None
    changes: list[Change]
    assumptions: Annotated[list[str], "notes"]


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
    compute_bytes: Annotated[int | None, "compute.most"]
    compute_least_bytes: Annotated[int, "compute.least"]
    output_bytes: int


class Use(TypedDict):
    """A device, or the host as the last.

    Fields:
        compute_bytes: at most; compute_least_bytes: at least.
        outside_bytes: what drivers hold beside llama.cpp's buffers.
    """

    name: str
    bytes: Annotated[int, "memory"]
    layers: int
    model_bytes: int
    cache_bytes: int
    compute_bytes: Annotated[int, "compute.most"]
    compute_least_bytes: Annotated[int, "compute.least"]
    output_bytes: int
    outside_bytes: Annotated[int, "outside.most"]
    outside_least_bytes: Annotated[int, "outside.least"]
    kept: list[Kept]
    free_bytes: int
    beside: NotRequired[list[Beside]]


class Placement(TypedDict):
    """llama.cpp's flags; layers are those of each device."""

    n_gpu_layers: Annotated[int, "table.placement.num_offloaded"]
    n_cpu_moe: Annotated[int, "placing.num_cpu_moe"]
    layers: list[int]


class LocalFit(TypedDict):
    """One model under llama.cpp on devices and RAM.

    Fields:
        read_bytes_per_token: of RAM, active weights and cache.
        command: the line to paste.
    """

    model: str
    engine: EngineName
    workload: LocalWorkload
    ram_bytes: Annotated[int | None, "question.machine.ram"]
    reserve_bytes: Annotated[int, "question.machine.reserve"]
    devices: list[Use]
    placement: Placement
    fits: bool
    verdict: str
    read_bytes_per_token: Annotated[int, "table.read_bytes"]
    longest_context: int | None
    command: str
    changes: list[LocalChange]
    assumptions: Annotated[list[str], "notes"]


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
    assumptions: Annotated[list[str], "notes"]


class ShortWorkload(TypedDict):
    """The question."""

    context_tokens: int
    batch_size: int
    kv_dtype: str


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
    formats: Annotated[list[Way], "ways"]
    reason: str | None


class Choices(TypedDict):
    """Which of several models fit, or which format of one."""

    device: Device
    engine: EngineName
    workload: ShortWorkload
    devices: Annotated[int, "request.layout.devices"]
    fits: bool
    models: Annotated[list[Choice], "choices"]
    assumptions: Annotated[list[str], "notes"]


class Share(TypedDict):
    """A model that shares the device.

    Fields:
        bytes: what it takes; null where that is more than all of it.
        percent: the engine's share; null for an engine that is told none.
    """

    model: str
    dtype: str
    weights_bytes: Annotated[int, "weight_bytes"]
    bytes: Annotated[int | None, "num_bytes"]
    percent: int | None
    command: str


class Together(TypedDict):
    """Several models on one device, or on equal ones (parallelism)."""

    device: Device
    parallelism: NotRequired[Ranks]
    engine: EngineName
    workload: Annotated[ShortWorkload, "request.workload"]
    fits: bool
    verdict: str
    models: Annotated[list[Share], "parts"]
    free_bytes: int
    assumptions: Annotated[list[str], "notes"]
