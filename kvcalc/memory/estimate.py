"""The answer to one question about one model, taken apart to named tensors."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from kvcalc.buffers import Grown
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import recipe
from kvcalc.frozen import changed, frozen
from kvcalc.memory.accounting import Accounting, logical
from kvcalc.memory.asked_beside import NOTHING
from kvcalc.memory.cache import CacheFunction, compile_groups, tensor_bytes
from kvcalc.memory.format_notes import format_notes
from kvcalc.memory.inventory import CacheGroup, groups_of, mtp_groups
from kvcalc.memory.ledger import WeightType, merged_types
from kvcalc.memory.shown import Shown
from kvcalc.memory.stages import decoder_stages
from kvcalc.memory.weights import (
    ParameterSummary,
    count_parameters,
    device_weight_bytes,
    ledger,
    summarise,
)
from kvcalc.memory.workload import Asked, Workload
from kvcalc.memory.workspace import WorkspaceItem, step_workspace, workspace
from kvcalc.mlx_types import instead_of, mlx_recipe
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights
from kvcalc.tensors import Component, Once
from kvcalc.units import MAX_TOKENS

if TYPE_CHECKING:
    from kvcalc.memory.beside import PartBeside

DEFAULT_CONTEXT = 8192


@frozen
class TensorEstimate:
    """One cached tensor of one layer: its shape for all sequences, its format and its bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    extent: str


@frozen
class GroupEstimate:
    """Equal layers; ``bytes`` is what all of them hold together."""

    group: CacheGroup
    tensors: tuple[TensorEstimate, ...]
    bytes: int


@frozen
class CacheEstimate:
    """The cache of all sequences.

    bytes_per_token: what one more token of one sequence adds once every window is full (rounded up
    where blocks make that a fraction). next_token_bytes: what it adds at this length, where windows
    that are not full grow, too. fixed_bytes_per_sequence: full windows, states, cross cache.
    range_bytes: (least, expected, worst) where routing decides; expected may be unknown.
    kept: what layers keep for one sequence; length: the tokens that all is counted at.
    after_prefill_bytes: what stays allocated right after one prefill of the whole context, where a
    library keeps windows as views of all it has seen.
    prefill_peak_bytes: the most at the end of a step of the prefill, where a library reads in steps.
    """

    bytes: int
    bytes_per_token: int
    next_token_bytes: int
    fixed_bytes_per_sequence: int
    per_device_bytes: tuple[int, ...]
    kept: tuple[CacheGroup, ...]
    workload: Workload
    length: int
    range_bytes: tuple[int, int | None, int] | None = None
    after_prefill_bytes: int | None = None
    prefill_peak_bytes: int | None = None

    @cached_property
    def groups(self) -> tuple[GroupEstimate, ...]:
        """The cache taken apart to tensors."""
        return tuple(_group(group, self.workload, self.length) for group in self.kept)


@frozen
class Estimate(Shown):
    """Everything ``kvcalc estimate`` prints.

    engine: whose accounting the cache follows. stored: the files whose bytes the weights are.
    parameters, weight_bytes_by_component: the model's own; ``beside`` has the parts loaded beside it,
    which weight_bytes, weight_types and the bytes on devices hold, too. path: of the spec, where it has
    one. real: the model's own estimate, where this one is of another attention.
    """

    spec: ModelSpec
    engine: str
    workload: Workload
    parameters: ParameterSummary
    weight_bytes: int
    weight_bytes_by_component: dict[Component, int]
    weight_bytes_per_device: tuple[int, ...]
    weight_types: tuple[WeightType, ...]
    cache: CacheEstimate
    mtp_parameters: int
    assumptions: tuple[str, ...]
    stored: StoredWeights | None = None
    beside: "tuple[PartBeside, ...]" = ()
    path: str = ""
    real: "Estimate | None" = None

    @property
    def total_parameters(self) -> int:
        """Of all that is loaded."""
        return self.parameters.total + sum(part.parameters for part in self.beside)

    @cached_property
    def workspace(self) -> tuple[WorkspaceItem, ...]:
        """The largest buffers of one prefill of everything."""
        return workspace(self.spec, self.workload)

    @cached_property
    def step(self) -> tuple[WorkspaceItem, ...]:
        """Those of one step of an engine, which cuts a prefill in chunks."""
        return step_workspace(self.spec, self.workload)

    @property
    def state_dtype(self) -> str:
        """The number format of recurrent states: as asked, or the mechanisms' own."""
        own = {
            tensor.dtype or "fp32"
            for group in self.cache.kept
            for tensor in group.tensors
            if tensor.role == "state"
        }
        return self.workload.cache.state or "+".join(sorted(own)) or "fp32"

    @property
    def published_parameters(self) -> int | None:
        """Of the published files, where they are known and say more than the total does."""
        if self.spec.checkpoint is None:
            return None
        stated = self.spec.checkpoint.parameters
        return stated if self.spec.towers or stated != self.parameters.total else None

    @property
    def figures(self) -> object:
        cache = self.cache
        return (
            self.parameters, self.weight_bytes, self.weight_bytes_by_component, self.mtp_parameters,
            self.weight_bytes_per_device, self.weight_types, self.state_dtype, self.workspace, self.step,
            [(part.name, part.parameters, part.bytes, part.rank_bytes) for part in self.beside],
            cache.bytes, cache.bytes_per_token, cache.next_token_bytes, cache.fixed_bytes_per_sequence,
            cache.per_device_bytes, cache.range_bytes, cache.after_prefill_bytes,
            cache.prefill_peak_bytes, [group.bytes for group in cache.groups],
        )  # fmt: skip

    @property
    def sentences(self) -> tuple[str, ...]:
        return self.assumptions

    def noted(self, notes: tuple[str, ...]) -> "Estimate":
        return changed(self, assumptions=(*self.assumptions, *notes)) if notes else self

    @property
    def total_bytes(self) -> int:
        """Weights and cache; the workspace is transient and stands apart."""
        return self.weight_bytes + self.cache.bytes


def beyond_longest(spec: ModelSpec, tokens: int) -> str | None:
    """The note on a context that is longer than the model's own longest; None where it is not."""
    longest = spec.max_position_embeddings
    if longest is None or tokens <= longest:
        return None
    return f"the model was made for at most {longest} tokens"


def encoder_length(spec: ModelSpec, context_tokens: int, asked: int | None) -> tuple[int, str]:
    """An encoder's tokens, 0 where there is none, and what is to say about them."""
    encoder = spec.encoder
    if encoder is None:
        return 0, ""
    if encoder.tokens is not None:
        same = asked in (None, encoder.tokens)
        own = encoder.tokens
        always = f"--encoder-context decides nothing here: the encoder always has {own} positions"
        return own, "" if same else always
    if asked is not None:
        return asked, ""
    if not encoder.layers:
        return 0, "text alone: --encoder-context counts the tokens of images"
    return context_tokens, "as many encoder tokens as the decoder's (none were given)"


def choose_workload(spec: ModelSpec, asked: Asked) -> tuple[Workload, tuple[str, ...]]:
    """Fill in what was not asked, and say so: (workload, assumptions).

    Raises UsageError for numbers or number formats that make no sense.
    """
    notes: list[str] = []
    if asked.put:
        # Nobody has asked the model's processor: kvcalc.convert.media.with_media does.
        raise UsageError("images and sound are not asked about here")
    layout, context_tokens = asked.layout, asked.context_tokens
    for name, value in (("batch", asked.batch_size), ("beams", asked.beams), ("tp", layout.tensor),
                        ("pp", layout.pipeline), ("dp", layout.data)):  # fmt: skip
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
        if value > MAX_TOKENS:
            raise UsageError(f"{name} {value}: more than any machine holds (at most 2^40)")
    if (context_tokens or 0) < 0 or (asked.encoder_tokens or 0) < 0:
        raise UsageError("a token count cannot be negative")
    longest = spec.max_position_embeddings
    if context_tokens is None:
        context_tokens = min(DEFAULT_CONTEXT, longest or DEFAULT_CONTEXT)
        notes.append(f"context of {context_tokens} tokens (none was given)")
    if asked.media:
        text = context_tokens
        context_tokens += sum(item.context_tokens for item in asked.media)
        notes.append(f"context of {text:,} tokens of text and {context_tokens - text:,} of media")
    if beyond := beyond_longest(spec, context_tokens):
        notes.append(beyond)
    if asked.dtype is not None and (today := instead_of(asked.dtype)) is not None:
        notes.append(
            f"--dtype {asked.dtype} is called {today} now, and the old name goes next release"
        )
    keys = sum(item.count * item.encoder_tokens for item in asked.media) or asked.encoder_tokens
    encoder_tokens, note = encoder_length(spec, context_tokens, keys)
    if note:
        notes.append(note)
    if asked.encoder_tokens and spec.encoder is None:
        notes.append("--encoder-context decides nothing here: the model has no encoder")
    if asked.state_dtype is not None or asked.kv_dtype != "bf16":
        from kvcalc.memory.needless import needless_formats

        notes += needless_formats(spec, asked)
    try:
        cache = CacheDtypes.parse(asked.kv_dtype, asked.state_dtype)
    except ValueError as error:
        raise UsageError(f"kv dtype {error}") from None
    workload = Workload(
        context_tokens=context_tokens, batch_size=asked.batch_size, encoder_tokens=encoder_tokens,
        beams=asked.beams, dtype=_weights_in(spec, asked.dtype),
        cache=cache, layout=layout, media=asked.media, largest_item=asked.largest_item,
        beside=asked.beside,
    )  # fmt: skip
    return workload, tuple(notes)


def _weights_in(spec: ModelSpec, dtype: str | None) -> str:
    """The weights' format: as asked (a GGUF or MLX type in its one spelling), or as published."""
    if dtype is None:
        return spec.own_dtype
    made = recipe(dtype) or mlx_recipe(dtype)
    return made.word if made else dtype


def answer(
    spec: ModelSpec,
    workload: Workload,
    notes: tuple[str, ...] = (),
    accounting: Accounting | None = None,
    stored: StoredWeights | None = None,
    path: str = "",
) -> Estimate:
    """The estimate for a complete workload; notes are carried into the assumptions.

    accounting: whose cache is counted; the logical one when None.
    stored: the model's own files, which the spec's formats give back where the workload's dtype is
    ``checkpoint``: their words for the formats, and what stands in them beside the model. path: of the
    spec.
    """
    accounting = accounting or logical(spec)
    parameters = summarise(spec)
    layout = workload.layout
    if workload.dtype != "checkpoint":
        stored = None
    weights = ledger(spec, workload.dtype)
    per_device = device_weight_bytes(spec, workload.dtype, layout.tensor, layout.pipeline)
    mtp = count_parameters(mtp_groups(spec))
    parts = _parts_beside(spec, workload)
    for rank in range(len(per_device) - layout.tensor, len(per_device)):
        per_device[rank] += sum(part.rank_bytes for part in parts)
    return Estimate(
        spec=spec,
        engine=accounting.engine,
        workload=workload,
        parameters=parameters,
        weight_bytes=weights.bytes + sum(part.bytes for part in parts),
        weight_bytes_by_component=weights.by_component,
        weight_bytes_per_device=tuple(per_device),
        weight_types=merged_types(
            [*weights.types, *(each for part in parts for each in part.types)]
        ),
        cache=_cache(spec, workload, accounting),
        mtp_parameters=mtp,
        assumptions=(
            *accounting.assumptions,
            *notes,
            *(note for part in parts for note in part.notes),
            *_assumptions(spec, workload, parameters, mtp, accounting, stored),
        ),
        stored=stored,
        beside=parts,
        path=path,
    )


def _parts_beside(spec: ModelSpec, workload: Workload) -> "tuple[PartBeside, ...]":
    """What is loaded beside the model: mostly nothing, and then nothing is imported for it."""
    if workload.beside == NOTHING:
        return ()
    from kvcalc.memory.beside import check_layout, parts_beside

    check_layout(workload.beside, workload.layout)
    return parts_beside(spec, workload.beside, workload.dtype, workload.layout)


def _cache(spec: ModelSpec, workload: Workload, accounting: Accounting) -> CacheEstimate:
    accounting = _with_parts(spec, workload, accounting)
    groups = accounting.groups
    function = compile_groups(groups, workload.cache)
    tokens, encoder = workload.context_tokens, workload.encoder_tokens
    sequences = workload.num_sequences
    length = function.peak(tokens, encoder) if accounting.at_most else tokens
    pinned = accounting.after_prefill
    return CacheEstimate(
        bytes=sequences * function.at(length, encoder),
        bytes_per_token=function.bytes_per_token,
        fixed_bytes_per_sequence=function.fixed_bytes(encoder),
        per_device_bytes=_per_device(spec, workload, accounting, function),
        kept=groups,
        workload=workload,
        length=length,
        next_token_bytes=function.next_token_bytes(tokens),
        range_bytes=_range(spec, workload, function),
        prefill_peak_bytes=sequences * function.prefill_peak(tokens, encoder)
        if accounting.prefill
        else None,
        after_prefill_bytes=None
        if pinned is None
        else sequences * compile_groups(pinned, workload.cache).at(tokens, encoder),
    )


def _with_parts(spec: ModelSpec, workload: Workload, accounting: Accounting) -> Accounting:
    """The same with what the parts beside the model keep. Raises UnsupportedError for a library's."""
    if workload.beside == NOTHING:
        return accounting
    from kvcalc.memory.beside import groups_beside

    parts = groups_beside(spec, workload.beside)
    if not parts:
        return accounting
    if accounting.engine != "logical":
        raise UnsupportedError(
            f"--engine {accounting.engine}: how it keeps what a draft or multi-token-prediction layers "
            "cache is not accounted for; without --engine the need is"
        )
    return changed(accounting, groups=(*accounting.groups, *parts))


def _group(group: CacheGroup, workload: Workload, length: int) -> GroupEstimate:
    tensors = []
    sequences, encoder = workload.num_sequences, workload.encoder_tokens
    for tensor in group.tensors:
        positions = tensor.extent.positions(length, encoder)
        if not positions and isinstance(tensor.extent, Grown) and length:
            continue  # in another format at this length
        tensors.append(
            TensorEstimate(
                name=tensor.name,
                shape=tensor.full_shape(sequences, positions),
                dtype=workload.cache.format(tensor.role, tensor.dtype).name,
                bytes=sequences * positions * tensor_bytes(tensor, workload.cache),
                extent=str(tensor.extent),
            )
        )
    total = len(group.layers) * sum(tensor.bytes for tensor in tensors)
    return GroupEstimate(group, tuple(tensors), total)


def _per_device(
    spec: ModelSpec, workload: Workload, accounting: Accounting, whole: CacheFunction
) -> tuple[int, ...]:
    """Bytes on each device, pipeline rank by pipeline rank, tensor ranks within it."""
    if workload.layout.tensor == workload.layout.pipeline == 1:
        at = whole.most if accounting.at_most else whole.at
        return (workload.num_sequences * at(workload.context_tokens, workload.encoder_tokens),)
    result: list[int] = []
    stages = decoder_stages(spec, workload.layout.pipeline)
    for stage in stages:
        held = [
            changed(group, layers=tuple(index for index in group.layers if index in stage))
            if group.stack == "decoder"
            else group
            for group in accounting.groups
            # Layers that draft stand with the head.
            if group.stack in ("decoder", "encoder") or stage is stages[-1]
        ]
        function = compile_groups(tuple(held), workload.cache, workload.layout.tensor)
        at = function.most if accounting.at_most else function.at
        num_bytes = at(workload.context_tokens, workload.encoder_tokens)
        result += [workload.num_sequences * num_bytes] * workload.layout.tensor
    return tuple(result)


def _range(
    spec: ModelSpec, workload: Workload, worst: CacheFunction
) -> tuple[int, int | None, int] | None:
    """Least, expected and worst bytes of a token-choice recursion."""
    if spec.recursion is None or spec.recursion.routing != "token_choice":
        return None
    found: dict[str, int | None] = {}
    cases: tuple[Literal["least", "expected"], ...] = ("least", "expected")
    for case in cases:
        if case == "expected" and not spec.recursion.depths:
            found[case] = None
            continue
        function = compile_groups(groups_of(spec, case), workload.cache)
        found[case] = workload.num_sequences * function.most(workload.context_tokens)
    least = found["least"]
    assert least is not None
    return least, found["expected"], workload.num_sequences * worst.most(workload.context_tokens)


def _assumptions(
    spec: ModelSpec,
    workload: Workload,
    parameters: ParameterSummary,
    mtp: int,
    accounting: Accounting,
    stored: StoredWeights | None,
) -> list[str]:
    notes = []
    if stored is not None:
        notes.append(f"weights as {stored.path} stores them: {stored.describe()} bytes")
        notes += [
            f"{num_bytes:,} bytes beside the model, not counted: {what}"
            for what, num_bytes in stored.beside
        ]
    elif workload.dtype == "checkpoint":
        held = ", ".join(f"{each.type} {each.bytes:,}" for each in ledger(spec, "checkpoint").types)
        notes.append(
            f"weights in the checkpoint's formats: {held} bytes; --dtype bf16 for one format"
        )
    else:
        notes += format_notes(spec, workload.dtype)
    if parameters.buffers:
        notes.append(f"{parameters.buffers} router biases and tables are buffers, counted apart")
    if mtp and not workload.beside.mtp_layers:
        notes.append(
            f"{mtp} parameters of {spec.mtp.num_layers if spec.mtp else 0} multi-token-prediction "
            f"layer(s) and their cache are not in the totals"
        )
    named = {what for what, _ in stored.beside} if stored is not None else set()
    notes += [f"not counted: {part}" for part in spec.left_out if part not in named]
    if workload.beams > 1:
        notes.append(f"{workload.beams} beams, each with a whole cache of its own")
    states = [
        tensor
        for group in accounting.groups
        for tensor in group.tensors
        if tensor.role == "state" and isinstance(tensor.extent, Once)
    ]
    if states and workload.cache.state is None:
        own = sorted({tensor.dtype or "fp32" for tensor in states})
        change = "; --state-dtype changes that" if accounting.engine == "logical" else ""
        notes.append(f"recurrent states in {' and '.join(own)}{change}")
    if spec.recursion is not None and spec.recursion.routing == "token_choice":
        notes.append("token choice: the cache depends on the depths chosen; this is the worst case")
    return notes
