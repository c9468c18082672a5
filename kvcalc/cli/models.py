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
    format: options.OutputFormat = "table",
) -> None:
    """The shipped models: parameters, attention, bytes of a token.

    Example: kvcalc models qwen
    """
    from kvcalc.report.answers.models import answer
    from kvcalc.spec.catalog import match

    show(format, answer(match(pattern)))
