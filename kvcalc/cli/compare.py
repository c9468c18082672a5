"""``kvcalc compare``: models x attention x contexts x batches x cache dtypes, as one table."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import Weights, show, with_groups
from kvcalc.cli.output import note, spare, write, write_file
from kvcalc.cli.progress import track
from kvcalc.convert.locate import locate
from kvcalc.dtypes import cache_dtype
from kvcalc.errors import UsageError
from kvcalc.memory.grid import Point, Variant, assumptions, baseline, grid
from kvcalc.report.answers.compare import answer
from kvcalc.spec.catalog import expand

if TYPE_CHECKING:
    from kvcalc.deployment.curves import Picture

# A table longer than this is not read; it is a job for --format csv.
MAX_TABLE_ROWS = 2_000


_Contexts = Annotated[
    str,
    kinds.option(
        "TOKENS,...",
        "Cached tokens of one sequence: 8k,32k,128k, or a series 1k:128k:1k, 1k:128k:x2.",
    ),
]
_Batches = Annotated[str, kinds.option("N,...", "Sequences: 1,8,32, or a series.")]
_KvDtypes = Annotated[
    str,
    kinds.option(
        "DTYPE[:DTYPE],...",
        "Number formats of the cache: bf16,fp8,q8_0:bf16; K:V as q8_0:bf16.",
        complete=completion.kv_dtypes,
    ),
]
_Attentions = Annotated[
    str | None,
    kinds.option(
        "ATTENTION,...",
        "What if they had these attentions instead: mha,gqa,mqa,mla; gqa:4 with 4 KV heads, "
        "mla:512 with a latent of 512.",
        complete=completion.several_of(options.ATTENTIONS),
    ),
]
_Sort = Annotated[str, kinds.choice(("given", "cache", "total"), "Order within one workload.")]
_Plot = Annotated[
    Path | None,
    kinds.file("Draw cache against context, and the memory's parts: .svg, .png or .pdf."),
]
_Chart = Annotated[bool, kinds.switch("--chart", "Draw the same in the terminal, under the table.")]


@with_groups
def compare(
    models: options.Models, context: _Contexts = "8k", batch: _Batches = "1",
    encoder_context: options.EncoderContext = None, kv_dtype: _KvDtypes = "bf16",
    state_dtype: options.StateDtype = None, weights: Weights = Weights(),
    attention: _Attentions = None, set_fields: options.SetFields = None, sort: _Sort = "given",
    format: options.OutputFormat = "table", plot: _Plot = None, chart: _Chart = False,
    force: options.Force = False, quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Models side by side, over contexts, batches and cache formats.

    Ratios are to the first model, in the first cache format, at the same workload. Options that
    take a list take one value, too. A folder stands for its specs. With --set the changed model
    stands beside the model itself.

    Example: kvcalc compare llama-3-8b deepseek-v3 gemma-3-27b --context 8k,128k
    """
    dtype = weights.word
    contexts, batches = _series(context, batch)
    if chart and format != "table":
        raise UsageError("--chart stands under a table; --plot FILE.svg draws beside any format")
    plot_format = _plot_format(plot, force)
    models, changes = expand(models), tuple(set_fields or ())
    read = track(models, len(models), "reading", quiet=quiet)
    variants = [each for model in read for each in _variants(model, attention, changes)]
    question: dict[str, Any] = {
        "contexts": contexts,
        "kv_dtypes": [cache_dtype(each) for each in kv_dtype.split(",")],
        "encoder_tokens": options.tokens(encoder_context, "--encoder-context"),
        "state_dtype": state_dtype,
        "dtype": dtype,
    }
    total = len(variants) * len(contexts) * len(batches) * len(question["kv_dtypes"])
    by = None if sort == "given" else sort
    points: Iterable[Point] = grid(variants, batches=batches, by=by, **question)
    if not (format == "csv" and sys.stdout.isatty()):
        points = track(points, total, "computing", quiet=quiet)
    if plot is not None:
        _draw(plot, _picture(variants, batches, question), plot_format, force, models, quiet)
    if format == "table" and total > MAX_TABLE_ROWS:
        raise UsageError(f"more than {MAX_TABLE_ROWS} rows are no table: use --format csv")
    first = baseline(variants, question["kv_dtypes"])
    notes = assumptions(
        variants, contexts, question["encoder_tokens"], question["kv_dtypes"], state_dtype
    )
    show(format, answer(points, first, notes), quiet=quiet, notes=notes)
    if chart:
        from kvcalc.report.drawings import characters

        write("\n" + characters.render(_picture(variants, batches, question)))


def _series(context: str, batch: str) -> tuple[list[int], list[int]]:
    """The contexts and the batches of the grid."""
    contexts = options.token_list(context, "--context")
    batches = options.token_list(batch, "--batch")
    if not contexts or not batches or min(batches) < 1:
        raise UsageError("give at least one --context, and batches of at least 1")
    return contexts, batches


def _draw(
    plot: Path, picture: "Picture", format: str, force: bool, read: list[str], quiet: bool
) -> None:
    """Write the drawing. read: the models, none of which it may take the place of."""
    from kvcalc.report.drawings import plot as drawing

    write_file(plot, drawing.render(picture, format), force, read)
    if not quiet:
        note(f"wrote {plot}")


def _picture(variants: list[Variant], batches: list[int], question: dict[str, Any]) -> "Picture":
    """The curves of the comparison, at the largest batch that was asked for."""
    from kvcalc.deployment.curves import picture

    return picture(variants, batch=max(batches), **question)


def _plot_format(plot: Path | None, force: bool) -> str:
    """Whether a plot can be drawn is said before anything is computed."""
    if plot is None:
        return ""
    spare(plot, force)
    from kvcalc.report.drawings.plot import check_format

    return check_format(plot.name)


def _variants(model: str, attention: str | None, set_fields: tuple[str, ...]) -> list[Variant]:
    """The model itself, or what it was changed to; with changed fields both."""
    found = locate(model)
    spec, notes = found.spec, found.assumptions
    variants = [Variant(spec, "", notes, found.weights)]
    if set_fields:
        from kvcalc.spec.set_fields import with_fields

        spec = with_fields(spec, set_fields)
        notes = (*notes, *(f"set {change}" for change in set_fields))
        variants.append(Variant(spec, ", ".join(map(_last_name, set_fields)), notes))
    if attention is None:
        return variants
    from kvcalc.spec.variants import with_attention

    variants = variants[: bool(set_fields)]
    for choice in attention.split(","):
        changed, how = with_attention(spec, options.attention(choice))
        variants.append(Variant(changed, choice.strip().lower(), (*notes, *how)))
    return variants


def _last_name(change: str) -> str:
    """``num_key_value_heads=4`` of ``blocks.decoder.attention.num_key_value_heads=4``."""
    path, equals, value = change.partition("=")
    return path.rpartition(".")[2] + equals + value
