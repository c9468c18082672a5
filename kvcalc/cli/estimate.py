"""``kvcalc estimate``: weights, cache and workspace of a model, taken apart to named tensors."""

from typing import Annotated

import typer

from kvcalc.cli import options
from kvcalc.cli.options import AttentionName, Engine, Format
from kvcalc.cli.output import write
from kvcalc.convert.locate import locate
from kvcalc.errors import UsageError
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.estimate import Estimate, answer, choose_workload
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec


def estimate(
    models: options.Models,
    context: options.Context = None,
    batch: options.Batch = 1,
    encoder_context: options.EncoderContext = None,
    beams: options.Beams = 1,
    attention: Annotated[
        AttentionName | None, typer.Option(help="What if it had this attention instead.")
    ] = None,
    dtype: options.Dtype = None,
    kv_dtype: options.KvDtype = "bf16",
    state_dtype: options.StateDtype = None,
    engine: options.WhichEngine = Engine.logical,
    engine_version: options.EngineVersion = None,
    tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1,
    set_fields: options.SetFields = None,
    format: options.OutputFormat = Format.table,
) -> None:
    """What a model takes: parameters, weights, cache and workspace, tensor by tensor.

    Example: kvcalc estimate llama-3-8b --context 128k --batch 32
    """
    if "," in kv_dtype:
        raise UsageError("estimate answers for one --kv-dtype; 'kvcalc compare' takes several")
    answers: list[tuple[Found, Estimate, Estimate | None]] = []
    for model in models:
        found = locate(model)
        spec, notes, stored = found.spec, found.assumptions, found.weights
        if set_fields:
            stored = None
            from kvcalc.spec.variants import with_fields

            spec = with_fields(spec, tuple(set_fields))
            notes = (*notes, *(f"set {change}" for change in set_fields))
        workload, filled = choose_workload(
            spec,
            context_tokens=options.tokens(context, "--context"),
            batch_size=batch,
            encoder_tokens=options.tokens(encoder_context, "--encoder-context"),
            beams=beams,
            dtype=dtype or (None if stored is None or attention is not None else "checkpoint"),
            kv_dtype=kv_dtype,
            state_dtype=state_dtype,
            tensor_parallel=tp,
            pipeline_parallel=pp,
        )
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
    write(_render(answers, format))


def _accounting(
    engine: Engine, spec: ModelSpec, workload: Workload, version: str | None
) -> Accounting | None:
    """Whose cache to count. None: what the mechanisms need."""
    if engine is Engine.transformers:
        from kvcalc.engines import transformers

        return transformers.accounting(spec, workload.cache, version)
    if version is not None:
        raise UsageError(f"--engine-version: the {engine.value} accounting has no versions")
    return None


def _render(answers: list[tuple[Found, Estimate, Estimate | None]], format: Format) -> str:
    if format is Format.json:
        from kvcalc.report import estimate_json

        return estimate_json.render([(found.path, result) for found, result, _ in answers])
    if format is Format.csv:
        from kvcalc.report import estimate_csv

        return estimate_csv.render([result for _, result, _ in answers])
    if format is Format.markdown:
        from kvcalc.report import estimate_markdown

        return estimate_markdown.render([result for _, result, _ in answers])
    from kvcalc.report import estimate_table

    return estimate_table.render([(result, real) for _, result, real in answers])
