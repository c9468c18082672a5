"""``kvcalc estimate MODEL --lengths FILE``: the cache of real requests instead of one context."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from kvcalc.cli.options import Engine
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import FileError, NotFoundError, UsageError
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.memory.layout import Layout
from kvcalc.memory.lengths import Lengths, read_lengths
from kvcalc.memory.stages import decoder_stages
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
from kvcalc.spec.model import ModelSpec


def load_lengths(path: str) -> Lengths:
    """Read a file, or stdin for ``-``. Raises NotFoundError, FileError or UsageError."""
    if path == "-" and sys.stdin is None:
        raise FileError("cannot read stdin: it is closed")
    if path == "-":
        return read_lengths(sys.stdin.buffer, "stdin")
    try:
        with open(path, "rb") as stream:
            return read_lengths(stream, path)
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None


def answer(
    spec: ModelSpec,
    lengths: Lengths,
    *,
    engine: Engine,
    engine_version: str | None,
    encoder_tokens: int | None,
    kv_dtype: str | None,
    state_dtype: str | None,
    layout: Layout,
    block_size: int | None,
    available: int | None,
    prefix_tokens: int | None,
) -> tuple[Traffic, tuple[str, ...]]:
    """One model's answer and what was assumed."""
    if engine is Engine.all:
        raise UsageError("--lengths answers for one --engine")
    if spec.encoder is not None and spec.encoder.tokens is None and encoder_tokens is None:
        raise UsageError(f"{spec.name} keeps its encoder's tokens: give --encoder-context")
    longest = max(lengths.totals)
    asked = Asked(
        context_tokens=max(1, longest), encoder_tokens=encoder_tokens,
        kv_dtype=_logical_format(kv_dtype), state_dtype=state_dtype, layout=layout,
    )  # fmt: skip
    workload, notes = choose_workload(spec, asked)
    encoder = workload.encoder_tokens
    function = compile_groups(groups_of(spec), workload.cache)
    block, held_by, prefix = block_size or BLOCK_TOKENS, "blocks", None
    if engine in (Engine.logical, Engine.transformers) and engine_version is not None:
        raise UsageError("--engine-version: name a serving engine for it")
    if engine is Engine.logical:
        stages = _stages(spec, workload, groups_of(spec))
        holds = [paged(stage, block) for stage in stages]
        prefix = _prefix(stages)
        stage_bytes = _quick(
            lambda tokens: tuple([at(tokens, encoder) for at in holds]), function, block
        )
    else:
        for value, option in ((block_size, "--block-size"), (prefix_tokens, "--shared-prefix")):
            if value is not None:
                raise UsageError(f"{option} is about blocks: leave --engine {engine.value} out")
        block, held_by = 0, engine.value
        stage_bytes = _engine(engine, spec, workload, kv_dtype, engine_version)
    result = traffic(
        lengths,
        logical=_quick(lambda tokens: (function.most(tokens, encoder),), function, 1),
        stage_bytes=stage_bytes,
        tensor=layout.tensor,
        held_by=held_by,
        block_tokens=block or None,
        available_bytes=available,
        prefix_tokens=prefix_tokens,
        prefix_stage_bytes=prefix,
    )
    return result, notes


def _logical_format(kv_dtype: str | None) -> str:
    try:
        return CacheDtypes.parse(kv_dtype or "bf16").kv_name
    except ValueError:
        # An engine's own format stands beside a need in bf16.
        return "bf16"


def _stages(
    spec: ModelSpec, workload: Workload, groups: Sequence[CacheGroup]
) -> list[CacheFunction]:
    """The cache of one rank of each pipeline stage."""
    functions = []
    for stage in decoder_stages(spec, workload.layout.pipeline):
        held = tuple(
            replace(group, layers=tuple(index for index in group.layers if index in stage))
            if group.stack == "decoder"
            else group
            for group in groups
        )
        functions.append(compile_groups(held, workload.cache, workload.layout.tensor))
    return functions


def _prefix(stages: list[CacheFunction]) -> StageBytes:
    return lambda tokens: tuple(shared_bytes(stage, tokens) for stage in stages)


def _engine(
    engine: Engine, spec: ModelSpec, workload: Workload, kv_dtype: str | None, version: str | None
) -> StageBytes:
    """What a library or an engine holds on a rank of each stage."""
    encoder = workload.encoder_tokens
    if engine is Engine.transformers:
        from kvcalc.engines import transformers

        groups = transformers.accounting(spec, workload.cache).groups
        stages = _stages(spec, workload, groups)
        whole = compile_groups(groups, workload.cache)
        return _quick(lambda tokens: tuple([one.at(tokens, encoder) for one in stages]), whole, 1)
    from kvcalc.engines.workload import holding

    held = holding(engine.value, spec, workload, kv_dtype, version)
    return eventually_linear(
        lambda tokens: held.stage_bytes(max(1, tokens)), held.far, held.period, held.step
    )


def _quick(at: StageBytes, function: CacheFunction, block: int) -> StageBytes:
    bounds = far_of(function, block)
    return at if bounds is None else eventually_linear(at, *bounds)
