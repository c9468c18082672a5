"""``kvcalc models``: the models that come with kvcalc."""

from typing import Annotated

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.options import Format
from kvcalc.cli.output import write


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
    format: options.OutputFormat = Format.table,
) -> None:
    """The shipped models: parameters, attention, bytes of a token.

    Example: kvcalc models qwen
    """
    from kvcalc.report import models_list
    from kvcalc.spec.catalog import match

    write(models_list.render(match(pattern), format.value))
