"""``kvcalc report``: models as one page to send around: tables, plots, equations, a live form."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kvcalc.cli import options
from kvcalc.errors import FileError, UsageError


def report(
    models: options.Models,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write.", show_default=False)
    ],
    context: options.Context = None,
    batch: options.Batch = 1,
    encoder_context: options.EncoderContext = None,
    dtype: options.Dtype = None,
    kv_dtype: options.KvDtype = "bf16",
    state_dtype: options.StateDtype = None,
    tp: options.TensorParallel = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
) -> None:
    """One self-contained HTML page, with a form that recomputes in the browser; no network.

    Example: kvcalc report llama-3-8b gemma-3-27b deepseek-v3 --context 32k -o report.html
    """
    if output.exists() and not force:
        raise UsageError(f"{output} exists; --force overwrites it")
    from kvcalc.convert.locate import locate
    from kvcalc.memory.estimate import answer, choose_workload
    from kvcalc.report import html
    from kvcalc.report.page_data import Question

    encoder_tokens = options.tokens(encoder_context, "--encoder-context")
    context_tokens = options.tokens(context, "--context")
    found = tuple(locate(model) for model in models)
    estimates = []
    for item in found:
        workload, notes = choose_workload(
            item.spec,
            # One form asks for all models: a model made for less says so in its notes.
            context_tokens=8192 if context_tokens is None else context_tokens,
            batch_size=batch,
            encoder_tokens=encoder_tokens,
            dtype=dtype or (None if item.weights is None else "checkpoint"),
            kv_dtype=kv_dtype,
            state_dtype=state_dtype,
            tensor_parallel=tp,
        )
        notes = (*item.assumptions, *notes)
        estimates.append(answer(item.spec, workload, notes, stored=item.weights))
    page = html.render(
        found,
        tuple(estimates),
        Question(estimates[0].workload, encoder_tokens, dtype),
        _command(models, {
            "--context": context, "--batch": str(batch) if batch > 1 else None,
            "--encoder-context": encoder_context, "--dtype": dtype,
            "--kv-dtype": kv_dtype if kv_dtype != "bf16" else None, "--state-dtype": state_dtype,
            "--tp": str(tp) if tp > 1 else None, "-o": output.name,
        }),
    )  # fmt: skip
    _write(output, page, force)
    print(f"wrote {output} ({len(page.encode()):,} bytes)", file=sys.stderr)


def _command(models: list[str], given: dict[str, str | None]) -> str:
    """The command that makes the page again, as a shell reads it."""
    from shlex import join

    pairs = [(option, value) for option, value in given.items() if value is not None]
    return join(["kvcalc", "report", *models, *(word for pair in pairs for word in pair)])


def _write(output: Path, page: str, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(page)
    except FileExistsError:
        raise UsageError(f"{output} exists; --force overwrites it") from None
    except OSError as error:
        raise FileError(f"cannot write {output}: {error.strerror}") from None
