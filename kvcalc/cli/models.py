"""``kvcalc models``: the models that come with kvcalc."""

from typing import Annotated

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.show import show


def models(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Part of a name or family, or a glob such as 'qwen3*'.",
            metavar="[PATTERN]",
            autocompletion=completion.model,
            show_default="all",
        ),
    ] = "",
    attention: Annotated[
        str | None, typer.Option(help="With attention or a mixer of a kind.", metavar="gqa,mla,...")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Of one family.", metavar="qwen")] = None,
    size: Annotated[
        str | None, typer.Option(help="Parameters from and to.", metavar="7b-14b|70b-|-3b")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="With these parts.", metavar="vision,audio,text")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Made for as many tokens, or more.", metavar="128k")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="That came out in a month, or later.", metavar="2026-05")
    ] = None,
    newest: Annotated[
        int | None, typer.Option(help="The last ones that came out.", metavar="N")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="What they are sorted by.",
            metavar="name|family|size|active|context|cache|newest|oldest",
            show_default="name",
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
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
