"""What requests of many lengths hold: ``kvcalc traffic``, for the need and for every engine."""

from collections.abc import Iterator

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import NEED, engine_of
from kvcalc.engines.workload import holding
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.inventory import groups_of
from kvcalc.memory.layout import Layout
from kvcalc.memory.lengths import Lengths
from kvcalc.memory.shown import Shown
from kvcalc.memory.stages import stage_functions
from kvcalc.memory.traffic import (
    BLOCK_TOKENS,
    StageBytes,
    Traffic,
    eventually_linear,
    far_of,
    paged,
    shared_bytes,
    traffic,
)
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec


@frozen(kw_only=True)
class TrafficQuestion:
    """What is asked of requests whose lengths are given.

    kv_dtype: in the engine's words; None its own. block_size: tokens of a block, prefix_tokens: that
    all requests begin with; both of the logical need. available: bytes for the cache on a device.
    set_fields: ``FIELD=VALUE``, changes of the model.
    """

    engine: str = NEED
    engine_version: str | None = None
    asked: Asked = Asked()
    kv_dtype: str | None = None
    block_size: int | None = None
    available: int | None = None
    prefix_tokens: int | None = None
    set_fields: tuple[str, ...] = ()


@frozen
class TrafficAnswer(Shown):
    """What the requests of one model hold. path: of its spec. notes: what was assumed."""

    model: str
    traffic: Traffic
    notes: tuple[str, ...] = ()
    path: str = ""


def traffic_of(found: Found, lengths: Lengths, question: TrafficQuestion) -> TrafficAnswer:
    """One model's answer.

    Raises UsageError for what says nothing of the engine, and as the engine does.
    """
    if question.set_fields:
        from kvcalc.spec.set_fields import with_set

        found = with_set(found, question.set_fields)
    spec, asked = found.spec, question.asked
    if spec.encoder is not None and spec.encoder.tokens is None and asked.encoder_tokens is None:
        raise UsageError(f"{spec.name} keeps its encoder's tokens: give --encoder-context")
    workload, notes = choose_workload(
        spec,
        changed(
            asked,
            context_tokens=max(1, *lengths.totals),
            kv_dtype=CacheDtypes.need(question.kv_dtype),
        ),
    )
    encoder = workload.encoder_tokens
    function = compile_groups(groups_of(spec), workload.cache)
    block, held_by, prefix = 0, question.engine, None
    if question.engine == NEED:
        block, held_by = question.block_size or BLOCK_TOKENS, "blocks"
        stage_bytes, prefix = _in_blocks(spec, workload, question, function, block)
    else:
        _refuse_blocks(question)
        stage_bytes, said = _held(spec, workload, question)
        notes = (*said, *notes)
    result = traffic(
        lengths,
        logical=_quick(lambda tokens: (function.most(tokens, encoder),), function, 1),
        stage_bytes=stage_bytes,
        tensor=workload.layout.tensor,
        held_by=held_by,
        block_tokens=block or None,
        available_bytes=question.available,
        prefix_tokens=question.prefix_tokens,
        prefix_stage_bytes=prefix,
    )
    notes = (*notes, *_of_devices(workload.layout, question), *found.assumptions)
    return TrafficAnswer(spec.name, result, notes, found.path)


def _in_blocks(
    spec: ModelSpec,
    workload: Workload,
    question: TrafficQuestion,
    function: CacheFunction,
    block: int,
) -> tuple[StageBytes, StageBytes]:
    """What whole blocks of a rank of each stage hold of a request, and of a prefix."""
    if question.engine_version is not None:
        raise UsageError("--engine-version: name a serving engine for it")
    stages = stage_functions(spec, groups_of(spec), workload.cache, workload.layout)
    holds, encoder = [paged(stage, block) for stage in stages], workload.encoder_tokens
    at = _quick(lambda tokens: tuple([each(tokens, encoder) for each in holds]), function, block)
    return at, lambda tokens: tuple([shared_bytes(stage, tokens) for stage in stages])


def _of_devices(layout: Layout, question: TrafficQuestion) -> Iterator[str]:
    """What ranks do not show without a memory to divide."""
    for option, ranks in (("--tp", layout.tensor), ("--pp", layout.pipeline)):
        if ranks > 1 and question.available is None:
            yield (
                f"{option} {ranks}: bytes are those of all devices together; --available SIZE says how "
                "many requests one device's memory has room for"
            )


def _refuse_blocks(question: TrafficQuestion) -> None:
    for value, option in ((question.block_size, "--block-size"),
                          (question.prefix_tokens, "--shared-prefix")):  # fmt: skip
        if value is not None:
            raise UsageError(f"{option} is about blocks: leave --engine {question.engine} out")


def _held(
    spec: ModelSpec, workload: Workload, question: TrafficQuestion
) -> tuple[StageBytes, tuple[str, ...]]:
    """What a library or an engine holds on a rank of each stage, and by which rules."""
    encoder, record = workload.encoder_tokens, engine_of(question.engine)
    record.check_layout(workload.layout)
    record.check_ranks(spec, workload.layout)
    if record.accounting is not None:
        kept = record.accounting(spec, workload.cache, question.engine_version)
        groups = kept.groups
        stages = stage_functions(spec, groups, workload.cache, workload.layout)
        whole = compile_groups(groups, workload.cache)
        at = _quick(lambda tokens: tuple([one.at(tokens, encoder) for one in stages]), whole, 1)
        return at, kept.assumptions
    held = holding(record.name, spec, workload, question.kv_dtype, question.engine_version)
    at = eventually_linear(
        lambda tokens: held.stage_bytes(max(1, tokens)), held.far, held.period, held.step
    )
    return at, (f"as {record.words} {held.version} holds them", *held.notes)


def _quick(at: StageBytes, function: CacheFunction, block: int) -> StageBytes:
    bounds = far_of(function, block)
    return at if bounds is None else eventually_linear(at, *bounds)
