"""``kvcalc explain``: the equation of every kind of layer, with this model's numbers put in."""

from typing import Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import show
from kvcalc.errors import UsageError
from kvcalc.report.formats import PRINTERS

# An explanation is text where other answers are tables.
FORMATS = ("text", *(word for word in PRINTERS if word != "table"))


_Model = Annotated[str | None, kinds.argument("[MODEL]", options.ONE_MODEL, completion.model)]
_Every = Annotated[
    bool, kinds.switch("--all", "Everything that a spec can say: mechanisms, stack, fields.")
]
_Format = Annotated[str, options.format_option(FORMATS)]


def explain(
    model: _Model = None,
    context: options.Context = None,
    encoder_context: options.EncoderContext = None,
    kv_dtype: options.KvDtype = "bf16",
    state_dtype: options.StateDtype = None,
    every: _Every = False,
    format: _Format = "text",
    quiet: options.Quiet = False,
) -> None:
    """The equations behind the number, with their symbols and source.

    A mechanism or a part of a spec instead of a model (mla, mamba2, recursion, layers) is described
    with its fields.

    Example: kvcalc explain deepseek-v3 --context 32k
    """
    from kvcalc.report.answers import mechanisms

    format = "table" if format == "text" else format
    if model is None and not every:
        raise UsageError("name a model or a mechanism, or ask for --all")
    if every:
        return show(format, mechanisms.answer("all", mechanisms.render()))
    section = mechanisms.find(model or "")
    if section is not None:
        return show(format, mechanisms.answer(section.names[0], section.render()))
    from kvcalc.convert.locate import locate
    from kvcalc.deployment.estimation import EstimateQuestion, workload_answer
    from kvcalc.memory.workload import Asked
    from kvcalc.report.answers import explanation

    found = locate(model or "")
    asked = Asked(
        context_tokens=options.tokens(context, "--context"),
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"),
        state_dtype=state_dtype,
    )
    workload, notes = workload_answer(found, EstimateQuestion(asked=asked, kv_dtype=kv_dtype))
    show(
        format,
        explanation.answer(found.spec, workload, () if quiet and format != "json" else notes),
    )
