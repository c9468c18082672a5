"""``kvcalc log``: an engine's start-up log, or a running server, held against kvcalc."""

from typing import Annotated

import typer

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import Output, with_groups
from kvcalc.cli.output import note
from kvcalc.report.answers import answer

_ENGINES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp", "ollama", "lm-studio")


_File = Annotated[
    str,
    kinds.argument(
        "FILE|-|URL",
        "A log as it was pasted, - for stdin, or a running server: http://localhost:8000.",
        completion.path,
    ),
]
_Model = Annotated[
    str | None,
    kinds.model(
        "Where the log does not say it: a name, a config.json, what estimate takes.",
        shown="the log's",
    ),
]
_Engine = Annotated[
    str | None, options.engine_option("Whose log it is.", _ENGINES, "what the log shows")
]
_Gpu = Annotated[str | None, options.gpu_option("The GPU, where the log does not name it.")]
_Flags = Annotated[
    str | None,
    kinds.option(
        "FLAGS",
        "Flags that the log does not show, as the engine spells them: '--max-num-seqs 8'.",
        shown=False,
    ),
]


@with_groups
def log(
    file: _File, model: _Model = None, engine: _Engine = None, gpu: _Gpu = None,
    flags: _Flags = None, output: Output = Output(),
) -> None:  # fmt: skip
    """Whether an engine's start-up log is as it should be, and why.

    Example: kvcalc log vllm.log
    """
    from kvcalc.logs.read import answer_of
    from kvcalc.logs.sources import pieces_of

    name = None if engine is None else options.engine_name(engine)
    with pieces_of(file) as pieces:
        found = answer_of(pieces, model, name, flags, gpu)
    said = (*found.assumed, *found.notes)
    output.show(answer(found), said)
    if output.format == "json" and not output.quiet:
        # The contract's object has no place for them.
        for each in said:
            note(each)
    if found.disagrees:
        raise typer.Exit(1)
