"""``kvcalc models``: the models that come with kvcalc."""

from typing import Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import show


def models(
    pattern: Annotated[
        str,
        kinds.argument(
            "[PATTERN]",
            "Part of a name or family, or a glob such as 'qwen3*'.",
            completion.model,
            shown="all",
        ),
    ] = "",
    attention: Annotated[
        str | None, kinds.option("gqa,mla,...", "With attention or a mixer of a kind.")
    ] = None,
    family: Annotated[str | None, kinds.option("qwen", "Of one family.")] = None,
    size: Annotated[str | None, kinds.option("7b-14b|70b-|-3b", "Parameters from and to.")] = None,
    modality: Annotated[str | None, kinds.option("vision,audio,text", "With these parts.")] = None,
    context: Annotated[
        str | None, kinds.option("128k", "Made for as many tokens, or more.")
    ] = None,
    since: Annotated[
        str | None, kinds.option("2026-05", "That came out in a month, or later.")
    ] = None,
    newest: Annotated[int | None, kinds.option("N", "The last ones that came out.")] = None,
    sort: Annotated[
        str | None,
        kinds.option(
            "name|family|size|active|context|cache|newest|oldest",
            "What they are sorted by.",
            shown="name",
        ),
    ] = None,
    reverse: Annotated[bool, kinds.switch("--reverse", "The other way round.")] = False,
    format: options.OutputFormat = "table",
) -> None:
    """The shipped models, by attention, size, context, age.

    Example: kvcalc models --attention mla --context 128k --sort size
    """
    from kvcalc.memory.listing import wanted
    from kvcalc.report.answers.models import answer
    from kvcalc.spec.catalog import match

    question = wanted(attention, family, size, modality, context, since, newest, sort, reverse)
    show(format, answer(match(pattern), question))
