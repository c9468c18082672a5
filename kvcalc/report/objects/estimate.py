"""``kvcalc estimate --format json``."""

from typing import NotRequired, TypedDict

from kvcalc.memory.workspace import WorkspaceItem
from kvcalc.report.objects.common import Model, Waste
from kvcalc.spec.stored import WeightType


class Media(TypedDict):
    """Equal images, sounds or videos.

    Fields:
        count: how many.
        size: WIDTHxHEIGHT, or seconds.
        tokens: what one of them makes.
        separators: what its marks and row ends make beside them.
    """

    kind: str
    count: int
    size: str
    tokens: int
    separators: int


class Workload(TypedDict):
    """The question.

    Fields:
        context_tokens: tokens of one sequence.
        encoder_tokens: of an encoder-decoder's encoder; 0 for others.
        dtype: the format of the weights; checkpoint: as stored.
        kv_dtype: the cache's format, KEYS:VALUES where they differ.
        media: where there are any; what they add is in context_tokens.
    """

    context_tokens: int
    batch_size: int
    encoder_tokens: int
    beams: int
    dtype: str
    kv_dtype: str
    state_dtype: str
    media: NotRequired[list[Media]]


class Parallelism(TypedDict):
    """Ranks."""

    tensor: int
    pipeline: int


class Components(TypedDict):
    """Parts of a model; a recurrent mixer is 'other'. The last six stand where there are such."""

    embedding: int
    attention: int
    ffn: int
    experts: int
    router: int
    norm: int
    head: int
    other: int
    vision: NotRequired[int]
    audio: NotRequired[int]
    projector: NotRequired[int]
    mtp: NotRequired[int]
    draft: NotRequired[int]
    adapters: NotRequired[int]


class Parameters(TypedDict):
    """Counts, never bytes.

    Fields:
        total: what is loaded without speculation, towers and heads included.
        language_model: of them, what is no tower and no projector.
        active: what one token uses.
        active_without_embedding: the same without the token table.
        buffers: what a checkpoint keeps that is no parameter, such as router biases.
        mtp: multi-token-prediction layers, which total does not count unless they are loaded.
        checkpoint: what the published safetensors hold, where that is known; of a model without towers
            only where it is not the total.
    """

    total: int
    language_model: int
    active: int
    active_without_embedding: int
    by_component: Components
    buffers: int
    mtp: int
    checkpoint: NotRequired[int]


class File(TypedDict):
    """A file that these weights are kept in."""

    name: str
    bytes: int


class Beside(TypedDict):
    """Tensors of a checkpoint that are no weights."""

    what: str
    bytes: int


class Weights(TypedDict):
    """Bytes of the weights in workload.dtype, one replica.

    Fields:
        per_device_bytes: on each pipeline stage's devices, one figure a stage.
        files: of a GGUF type.
        by_dtype: of a checkpoint as stored, bytes by format.
        beside: of a checkpoint, what is stored beside the weights.
        loaded_bytes_per_device: with an engine whose own classes are known, what they allocate on each
            rank; null where this model or layout is not, as an assumption says.
        buffer_bytes_per_device: what they hold beside that is no weight, such as rotary tables.
        loaded_reasons: what makes the difference from the checkpoint.
        after_loading: what is made of the loaded weights and kept beside them, on all devices; less than
            nothing where some of them are set free.
    """

    bytes: int
    by_component: Components
    per_device_bytes: list[int]
    types: list[WeightType]
    files: NotRequired[list[File]]
    by_dtype: NotRequired[dict[str, int]]
    beside: NotRequired[list[Beside]]
    loaded_bytes_per_device: NotRequired[list[int] | None]
    buffer_bytes_per_device: NotRequired[list[int] | None]
    loaded_reasons: NotRequired[list[Waste] | None]
    after_loading: NotRequired[list[Waste]]


class CacheTensor(TypedDict):
    """A tensor that one layer keeps, of all sequences.

    Fields:
        extent: how many positions it has, in words.
    """

    name: str
    shape: list[int]
    dtype: str
    bytes: int
    extent: NotRequired[str]


class CacheGroup(TypedDict):
    """Layers that keep the same.

    Fields:
        layers: the first and the last; null: none of the model's own.
        layer_ranges: the runs of layers, each [first, last].
        indices: every layer.
        count: how many.
        bytes: of all of them together.
        padding_layers: slots of an engine that belong to no layer.
        unused_bytes: of an engine's pages that no tensor fills.
    """

    layers: list[int] | None
    layer_ranges: list[list[int]]
    indices: NotRequired[list[int]]
    count: int
    padding_layers: NotRequired[int]
    unused_bytes: NotRequired[int]
    stack: str
    block: str
    mechanism: str
    bytes: int
    tensors: list[CacheTensor]


class Range(TypedDict):
    """The cache where what it keeps depends on the text."""

    least_bytes: int
    expected_bytes: int
    worst_bytes: int


class Cache(TypedDict):
    """Bytes of the cache of all sequences, the most that is held at any length up to the context.

    Fields:
        bytes_per_token: what a token costs beyond every window.
        next_token_bytes: what the next one costs at this length.
        fixed_bytes_per_sequence: full windows and states.
        prefill_peak_bytes: while the prompt is read, where that is more than what stays.
        after_prefill_bytes: what is left after it, where that is another figure.
    """

    bytes: int
    bytes_per_token: int
    next_token_bytes: int
    fixed_bytes_per_sequence: int
    per_device_bytes: list[int]
    groups: list[CacheGroup]
    range: NotRequired[Range]
    prefill_peak_bytes: NotRequired[int]
    after_prefill_bytes: NotRequired[int]


class Step(TypedDict):
    """The largest buffers of a step of so many tokens, as engines cut a prefill."""

    tokens: int
    bytes: int
    items: list[WorkspaceItem]


class Workspace(TypedDict):
    """Buffers of a step, in no sum. bytes is the largest of an unchunked prefill."""

    bytes: int
    items: list[WorkspaceItem]
    step: Step


class Counted(TypedDict):
    """What every estimate begins with."""

    model: Model
    workload: Workload
    engine: str
    parallelism: Parallelism
    parameters: Parameters
    weights: Weights


class Estimate(Counted):
    """One model, one workload, the logical need or what mlx-lm and transformers' caches hold.

    Fields:
        engine: whose accounting it is.
        assumptions: sentences for people.
        total_bytes: weights and cache.
    """

    cache: Cache
    workspace: Workspace
    assumptions: list[str]
    total_bytes: int


class EngineCache(TypedDict):
    """The cache as an engine holds it.

    Fields:
        bytes: in its pages, on all devices.
        logical_bytes: the need.
    """

    bytes: int
    logical_bytes: int
    bytes_per_token: int
    fixed_bytes_per_sequence: int
    per_device_bytes: list[int]
    groups: list[CacheGroup]


class EngineEstimate(Counted):
    """The same under ``--engine E``: the cache is the engine's, with what it wastes."""

    cache: EngineCache
    workspace: Workspace
    assumptions: list[str]
    total_bytes: int
    engine_version: str | None
    waste: list[Waste]


class Accounting(TypedDict):
    """One engine's figure.

    Fields:
        supported: whether it runs this model; refusal says why not, and the figures are null then.
    """

    engine: str
    version: str | None
    supported: bool
    bytes: int | None
    beyond_logical_bytes: int | None
    bytes_per_token: int | None
    fixed_bytes_per_sequence: int | None
    per_device_bytes: list[int] | None
    waste: list[Waste]
    refusal: str | None


class AllEngines(Estimate):
    """``--engine all``: the logical answer, and every engine beside it.

    Fields:
        engine: whose accounting it is.
        assumptions: sentences for people.
        total_bytes: weights and cache.
    """

    engines: list[Accounting]
