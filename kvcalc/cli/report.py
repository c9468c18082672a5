"""``kvcalc report``: models as one page to send around: tables, plots, equations, a live form."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kvcalc.cli import kinds, options
from kvcalc.cli.output import note, spare, write_file
from kvcalc.cli.progress import track
from kvcalc.errors import FileError, UnsupportedError
from kvcalc.frozen import changed
from kvcalc.reading import at_most

if TYPE_CHECKING:
    from kvcalc.memory.estimate import Estimate
    from kvcalc.memory.workload import Asked
    from kvcalc.report.page.proofs import ProofLine
    from kvcalc.spec.catalog import Found


# 'verify --all --format json' writes less than a tenth of it.
_MAX_PROOFS_BYTES = 8 << 20


_Output = Annotated[Path, kinds.file("The file to write.", "--output", "-o", shown=False)]
_Proofs = Annotated[
    Path | None,
    kinds.file("What 'kvcalc verify MODEL... --format json' wrote, to show in the page."),
]


def report(
    models: options.Models,
    output: _Output,
    context: options.ContextOfMany = None,
    batch: options.Batch = 1,
    encoder_context: options.EncoderContext = None,
    dtype: options.Dtype = None,
    kv_dtype: options.KvDtype = "bf16",
    state_dtype: options.StateDtype = None,
    tp: options.TensorParallel = 1,
    proofs: _Proofs = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """One HTML page to send around, with a form that recomputes.

    The page is self-contained and asks no network.

    Example: kvcalc report llama-3-8b gemma-3-27b deepseek-v3 --context 32k -o report.html
    """
    spare(output, force)
    from kvcalc.convert.locate import locate
    from kvcalc.memory.layout import Layout
    from kvcalc.memory.workload import Asked
    from kvcalc.report.page import html
    from kvcalc.report.page.data import Question

    proved = () if proofs is None else _read_proofs(proofs)
    context_tokens = options.tokens(context, "--context")
    asked = Asked(
        # One form asks for all models: a model made for less says so in its notes.
        context_tokens=8192 if context_tokens is None else context_tokens,
        batch_size=batch,
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"),
        dtype=dtype,
        kv_dtype=kv_dtype,
        state_dtype=state_dtype,
        layout=Layout(tp),
    )
    found = tuple(locate(model) for model in track(models, len(models), "reading", quiet=quiet))
    estimates = tuple(
        _estimate(item, asked) for item in track(found, len(found), "computing", quiet=quiet)
    )
    page = html.render(
        found,
        estimates,
        Question(estimates[0].workload, asked),
        _command(models, {
            "--context": context, "--batch": str(batch) if batch > 1 else None,
            "--encoder-context": encoder_context, "--dtype": dtype,
            "--kv-dtype": kv_dtype if kv_dtype != "bf16" else None, "--state-dtype": state_dtype,
            "--tp": str(tp) if tp > 1 else None,
            "--proofs": None if proofs is None else proofs.name, "-o": output.name,
        }),
        proved,
    )  # fmt: skip
    size = _write(output, page, force, (*models, *(() if proofs is None else (proofs,))))
    if not quiet:
        note(f"wrote {output} ({size:,} bytes)")


def _write(output: Path, page: str, force: bool, read: "tuple[str | Path, ...]") -> int:
    """Write the page; its bytes. read: what it may not take the place of."""
    # A file's name need not be text; what is none of it shows as a question mark.
    data = page.encode("utf-8", "replace")
    write_file(output, data, force, read)
    return len(data)


def _estimate(item: "Found", asked: "Asked") -> "Estimate":
    """One model's answer, with what was assumed of it. Raises UnsupportedError naming the model."""
    from kvcalc.memory.estimate import answer, choose_workload

    stored = "checkpoint" if item.weights is not None else None
    workload, notes = choose_workload(item.spec, changed(asked, dtype=asked.dtype or stored))
    try:
        return answer(item.spec, workload, (*item.assumptions, *notes), stored=item.weights)
    except UnsupportedError as error:
        raise UnsupportedError(f"{item.spec.name}: {error.message}") from None


def _command(models: list[str], given: dict[str, str | None]) -> str:
    """The command that makes the page again, as a shell reads it."""
    from shlex import join

    pairs = [(option, value) for option, value in given.items() if value is not None]
    return join(["kvcalc", "report", *models, *(word for pair in pairs for word in pair)])


def _read_proofs(file: Path) -> "tuple[ProofLine, ...]":
    from kvcalc.report.page.proofs import read

    try:
        data = at_most(file, _MAX_PROOFS_BYTES)
        if len(data) > _MAX_PROOFS_BYTES:
            raise FileError(
                f"{file} is larger than {_MAX_PROOFS_BYTES} bytes: not what verify wrote"
            )
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{file} is not UTF-8 text") from None
    return read(text, str(file))
