"""``kvcalc estimate``: weights, cache and workspace of a model, taken apart to named tensors."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.options import AttentionName, Engine
from kvcalc.cli.show import show
from kvcalc.convert.locate import locate
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UsageError
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.estimate import Estimate, answer, choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.catalog import Found, expand
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.report.sheet import Answer


def estimate(
    models: options.Models,
    context: options.Context = None,
    batch: options.Batch = 1,
    encoder_context: options.EncoderContext = None,
    beams: options.Beams = 1,
    attention: Annotated[
        AttentionName | None,
        typer.Option(
            help="What if it had this attention instead.", metavar=options.choices(AttentionName)
        ),
    ] = None,
    dtype: options.Dtype = None,
    imatrix: options.Imatrix = False,
    pure: options.Pure = False,
    output_tensor_type: options.OutputType = None,
    token_embedding_type: options.TokenType = None,
    kv_dtype: options.KvDtypeAsked = None,
    state_dtype: options.StateDtype = None,
    engine: options.WhichEngine = Engine.logical,
    engine_version: options.EngineVersion = None,
    tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1,
    set_fields: options.SetFields = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            help="Real requests instead of --context: CSV or JSONL of prompt and output tokens, or "
            "a histogram length,count; - is stdin.",
            metavar="FILE",
            autocompletion=completion.path,
        ),
    ] = None,
    available: Annotated[
        str | None,
        typer.Option(
            help="With --lengths: memory for the cache on a device, to say how many fit.",
            metavar="SIZE",
        ),
    ] = None,
    block_size: Annotated[
        int | None,
        options.num("--block-size", "With --lengths: tokens of a block.", show_default="16"),
    ] = None,
    shared_prefix: Annotated[
        str | None,
        typer.Option(help="With --lengths: tokens that all requests begin with.", metavar="TOKENS"),
    ] = None,
    workspace: Annotated[
        bool,
        typer.Option(
            "--workspace", help="Show the buffers of an unchunked prefill, eager ones too."
        ),
    ] = False,
    format: options.OutputFormat = "table",
    quiet: options.Quiet = False,
) -> None:
    """What a model takes: weights, cache, workspace, tensor by tensor.

    Example: kvcalc estimate llama-3-8b --context 128k --batch 32
    """
    dtype = options.gguf_dtype(dtype, imatrix, pure, output_tensor_type, token_embedding_type)
    if kv_dtype is not None and "," in kv_dtype:
        raise UsageError("estimate answers for one --kv-dtype; 'kvcalc compare' takes several")
    models = expand(models)
    if lengths is not None:
        beside = {
            "--context": context is not None,
            "--batch": batch != 1,
            "--beams": beams != 1,
            "--attention": attention is not None,
            "--dtype": dtype is not None,
        }
        for name, given in beside.items():
            if given:
                raise UsageError(f"{name} says nothing beside --lengths: leave it out")
        question = {
            "engine": engine,
            "engine_version": engine_version,
            "encoder_tokens": options.tokens(encoder_context, "--encoder-context"),
            "kv_dtype": kv_dtype,
            "state_dtype": state_dtype,
            "layout": Layout(tp, pp),
            "block_size": block_size,
            "available": options.num_bytes(available, "--available"),
            "prefix_tokens": options.tokens(shared_prefix, "--shared-prefix"),
        }
        show(format, _traffic(models, lengths, set_fields, question), quiet=quiet)
        return
    for name, given in (
        ("--available", available is not None),
        ("--block-size", block_size is not None),
        ("--shared-prefix", shared_prefix is not None),
    ):
        if given:
            raise UsageError(
                f"{name} goes with --lengths FILE; 'kvcalc capacity' answers for pools"
            )
    serving = engine not in (Engine.logical, Engine.transformers)
    answers: list[tuple[Found, Estimate, Estimate | None]] = []
    for model in models:
        found = locate(model)
        spec, notes, stored = found.spec, found.assumptions, found.weights
        if set_fields:
            stored = None
            from kvcalc.spec.variants import with_fields

            spec = with_fields(spec, tuple(set_fields))
            notes = (*notes, *(f"set {change}" for change in set_fields))
        asked = Asked(
            context_tokens=options.tokens(context, "--context"),
            batch_size=batch,
            encoder_tokens=options.tokens(encoder_context, "--encoder-context"),
            beams=beams,
            dtype=dtype or (None if stored is None or attention is not None else "checkpoint"),
            kv_dtype=_logical_format(kv_dtype, engine),
            state_dtype=state_dtype,
            layout=Layout(tp, pp),
        )
        workload, filled = choose_workload(spec, asked)
        notes = (*filled, *notes)
        real = None
        if attention is not None:
            from kvcalc.memory.whatif import against_real
            from kvcalc.spec.variants import with_attention

            real = answer(spec, workload, (), _accounting(engine, spec, workload, engine_version))
            spec, how = with_attention(spec, attention.value)
            accounting = _accounting(engine, spec, workload, engine_version)
            result = answer(spec, workload, (*how, *notes), accounting)
            result = against_real(result, real)
        else:
            accounting = _accounting(engine, spec, workload, engine_version)
            result = answer(spec, workload, notes, accounting, stored)
        answers.append((found, result, real))
    if serving:
        pairs = [(found.path, result) for found, result, _ in answers]
        show(format, _serve(engine, pairs, kv_dtype, engine_version), quiet=quiet)
    else:
        from kvcalc.report.answers import estimate as estimates

        rows = [(found.path, result, real) for found, result, real in answers]
        show(format, estimates.answer(rows, workspace), quiet=quiet)


def _traffic(
    models: list[str],
    path: str,
    set_fields: list[str] | None,
    question: dict[str, Any],
) -> "Answer":
    """Every model's answer for the requests of one file."""
    from kvcalc.cli import traffic
    from kvcalc.report.answers.traffic import answer as traffic_answer

    requests = traffic.load_lengths(path)
    answers = []
    for model in models:
        found = locate(model)
        spec, notes = found.spec, found.assumptions
        if set_fields:
            from kvcalc.spec.variants import with_fields

            spec = with_fields(spec, tuple(set_fields))
            notes = (*notes, *(f"set {change}" for change in set_fields))
        result, filled = traffic.answer(spec, requests, **question)
        answers.append((spec.name, found.path, result, (*filled, *notes)))
    return traffic_answer(answers)


def _logical_format(kv_dtype: str | None, engine: Engine) -> str:
    """The format of the logical need: an engine's own formats are beside bf16."""
    if kv_dtype is None:
        return "bf16"
    if engine in (Engine.logical, Engine.transformers, Engine.all):
        return options.cache_dtype(kv_dtype)
    try:
        CacheDtypes.parse(kv_dtype)
    except ValueError:
        return "bf16"
    return kv_dtype


def _serve(
    engine: Engine, found: list[tuple[str, Estimate]], kv_dtype: str | None, version: str | None
) -> "Answer":
    """What serving engines hold. found: (path of the spec, the logical estimate)."""
    from kvcalc.engines.workload import side_by_side, workload_cache
    from kvcalc.report.answers import engines

    if engine is Engine.all:
        if version is not None:
            raise UsageError("--engine-version: name one --engine for it")
        return engines.answer_all(
            [(path, one, side_by_side(one.spec, one.workload, kv_dtype)) for path, one in found]
        )
    return engines.answer([
        (path, one, workload_cache(engine.value, one.spec, one.workload, kv_dtype, version))
        for path, one in found
    ])  # fmt: skip


def _accounting(
    engine: Engine, spec: ModelSpec, workload: Workload, version: str | None
) -> Accounting | None:
    """Whose cache to count. None: what the mechanisms need."""
    if engine is Engine.transformers:
        from kvcalc.engines import transformers

        return transformers.accounting(spec, workload.cache, version)
    if version is not None and engine is Engine.logical:
        raise UsageError(f"--engine-version: the {engine.value} accounting has no versions")
    return None
