"""``kvcalc report``: models as one page to send around: tables, plots, equations, a live form."""

from functools import partial
from pathlib import Path
from typing import Annotated

from kvcalc.cli import kinds, options
from kvcalc.cli.output import note, spare, write_file
from kvcalc.cli.progress import track

_Output = Annotated[Path, kinds.file("The file to write.", "--output", "-o", shown=False)]
_Proofs = Annotated[
    Path | None,
    kinds.file("What 'kvcalc verify MODEL... --format json' wrote, to show in the page."),
]


def report(
    models: options.Models, output: _Output, context: options.ContextOfMany = None,
    batch: options.Batch = 1, encoder_context: options.EncoderContext = None,
    dtype: options.Dtype = None, kv_dtype: options.KvDtype = "bf16",
    state_dtype: options.StateDtype = None, tp: options.TensorParallel = 1, proofs: _Proofs = None,
    force: options.Force = False, quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """One HTML page to send around, with a form that recomputes.

    The page is self-contained and asks no network.

    Example: kvcalc report llama-3-8b gemma-3-27b deepseek-v3 --context 32k -o report.html
    """
    spare(output, force)
    from kvcalc.convert.locate import locate
    from kvcalc.deployment.estimation import EstimateQuestion
    from kvcalc.memory.layout import Layout
    from kvcalc.memory.workload import Asked
    from kvcalc.report.page.html import page_of
    from kvcalc.report.page.proofs import read

    proved = () if proofs is None else read(proofs)
    tokens = options.tokens(context, "--context")
    asked = Asked(
        # One form asks for all models: a model made for less says so in its notes.
        context_tokens=8192 if tokens is None else tokens, batch_size=batch,
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"), dtype=dtype,
        kv_dtype=kv_dtype, state_dtype=state_dtype, layout=Layout(tp),
    )  # fmt: skip
    found = tuple(map(locate, track(models, len(models), "reading", quiet=quiet)))
    command = _command(models, {
        "--context": context, "--batch": str(batch) if batch > 1 else None,
        "--encoder-context": encoder_context, "--dtype": dtype,
        "--kv-dtype": kv_dtype if kv_dtype != "bf16" else None, "--state-dtype": state_dtype,
        "--tp": str(tp) if tp > 1 else None,
        "--proofs": None if proofs is None else proofs.name, "-o": output.name,
    })  # fmt: skip
    question = EstimateQuestion(asked=asked, kv_dtype=kv_dtype)
    watch = partial(track, what="computing", quiet=quiet)
    page = page_of(found, question, command, proved, watch)
    # A file's name need not be text; what is none of it shows as a question mark.
    data = page.encode("utf-8", "replace")
    write_file(output, data, force, (*models, *(() if proofs is None else (proofs,))))
    if not quiet:
        note(f"wrote {output} ({len(data):,} bytes)")


def _command(models: list[str], given: dict[str, str | None]) -> str:
    """The command that makes the page again, as a shell reads it."""
    from shlex import join

    pairs = [(option, value) for option, value in given.items() if value is not None]
    return join(["kvcalc", "report", *models, *(word for pair in pairs for word in pair)])
