"""``kvcalc estimate``: weights, cache and workspace of a model, taken apart to named tensors."""

from typing import Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import Drafts, Lora, Media, Output, Pools, Weights, with_groups
from kvcalc.engines import ALL, NEED
from kvcalc.errors import UsageError

_Attention = Annotated[
    str | None,
    kinds.option(
        "|".join(options.ATTENTIONS),
        "What if it had this attention instead; gqa:4 has 4 KV heads, mla:512 a latent of 512.",
        complete=completion.one_of(options.ATTENTIONS),
        callback=kinds.given(options.attention),
    ),
]
_Lengths = Annotated[
    str | None, kinds.file("Real requests instead of --context, as 'kvcalc traffic' takes them.")
]
_Gpu = Annotated[
    list[str] | None,
    options.gpu_option("The GPU whose kernels decide formats and padding (with --engine)."),
]
_Workspace = Annotated[
    bool, kinds.switch("--workspace", "Show the buffers of an unchunked prefill, eager ones too.")
]
_Only = Annotated[
    str | None,
    kinds.option(
        "language",
        "The language model alone: no towers, no projectors.",
        complete=lambda: ["language"],
    ),
]


@with_groups
def estimate(
    models: options.Models, context: options.Context = None, batch: options.Batch = 1,
    encoder_context: options.EncoderContext = None, media: Media = Media(),
    drafts: Drafts = Drafts(), lora: Lora = Lora(), beams: options.Beams = 1,
    attention: _Attention = None, weights: Weights = Weights(),
    kv_dtype: options.KvDtypeAsked = None, state_dtype: options.StateDtype = None,
    engine: options.WhichEngine = NEED, engine_version: options.EngineVersion = None,
    tp: options.TensorParallel = 1, pp: options.PipelineParallel = 1,
    set_fields: options.SetFields = None, only: _Only = None, lengths: _Lengths = None,
    pools: Pools = Pools(), workspace: _Workspace = False, gpu: _Gpu = None,
    output: Output = Output(),
) -> None:  # fmt: skip
    """What a model takes: weights, cache, workspace, tensor by tensor.

    Example: kvcalc estimate llama-3-8b --context 128k --batch 32
    """
    # Completing a name needs none of it.
    from kvcalc.convert.locate import locate
    from kvcalc.deployment.estimation import EstimateQuestion, estimate_answer, of_requests
    from kvcalc.memory.estimate import Estimate
    from kvcalc.memory.layout import Layout
    from kvcalc.memory.workload import Asked
    from kvcalc.report.answers import answer
    from kvcalc.spec.catalog import expand

    question = EstimateQuestion(
        asked=Asked(
            context_tokens=options.tokens(context, "--context"), batch_size=batch,
            encoder_tokens=options.tokens(encoder_context, "--encoder-context"), beams=beams,
            dtype=weights.word, state_dtype=state_dtype, layout=Layout(tp, pp), put=media.words,
        ),
        kv_dtype=options.one_kv_dtype(kv_dtype), drafting=drafts.said, lora=lora.words,
        engine=options.engine_name(engine, ALL), engine_version=engine_version,
        attention=attention, set_fields=tuple(set_fields or ()), only=only, gpus=tuple(gpu or ()),
    )  # fmt: skip
    if lengths is not None:
        from kvcalc.cli import traffic

        asked = of_requests(question, **pools.question)
        return output.show(answer(*traffic.answers(models, lengths, asked)))
    pools.refuse()
    found = estimate_answer([locate(name) for name in expand(models)], question)
    if workspace and not isinstance(found[0], Estimate):
        raise UsageError(
            f"--workspace is of the table of the need, and --engine {engine} answers with what it holds: "
            "leave one of them out"
        )
    output.show(answer(*found, every=workspace))
