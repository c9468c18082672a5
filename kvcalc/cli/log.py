"""``kvcalc log``: an engine's start-up log, or a running server, held against kvcalc."""

from typing import Annotated

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.output import note
from kvcalc.cli.show import show

_ENGINES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp", "ollama", "lm-studio")


def log(
    file: Annotated[
        str,
        typer.Argument(
            help="A log as it was pasted, - for stdin, or a running server: http://localhost:8000.",
            metavar="FILE|-|URL",
            autocompletion=completion.path,
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Where the log does not say it: a name, a config.json, what estimate takes.",
            metavar="MODEL",
            autocompletion=completion.model,
            show_default="the log's",
        ),
    ] = None,
    engine: Annotated[
        str | None, options.engine_option("Whose log it is.", _ENGINES, "what the log shows")
    ] = None,
    gpu: Annotated[
        str | None, options.gpu_option("The GPU, where the log does not name it.")
    ] = None,
    flags: Annotated[
        str | None,
        typer.Option(
            help="Flags that the log does not show, as the engine spells them: '--max-num-seqs 8'.",
            metavar="FLAGS",
            show_default=False,
        ),
    ] = None,
    format: options.OutputFormat = "table",
    quiet: options.Quiet = False,
) -> None:
    """Whether an engine's start-up log is as it should be, and why.

    Example: kvcalc log vllm.log
    """
    from kvcalc.logs.read import answer_of
    from kvcalc.logs.sources import pieces_of
    from kvcalc.report.answers.log import answer

    name = None if engine is None else options.engine_name(engine)
    with pieces_of(file) as pieces:
        found = answer_of(pieces, model, name, flags, gpu)
    said = (*found.assumed, *found.notes)
    show(format, answer(found), quiet=quiet, notes=said)
    if format == "json" and not quiet:
        # The contract's object has no place for them.
        for each in said:
            note(each)
    if found.disagrees:
        raise typer.Exit(1)
