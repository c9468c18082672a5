"""``kvcalc compare``: models x attention x contexts x batches x cache dtypes, as one table."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import Weights, show, with_groups
from kvcalc.cli.output import note, spare, write, write_file
from kvcalc.cli.progress import track
from kvcalc.convert.locate import locate
from kvcalc.deployment.comparison import CompareQuestion, comparison
from kvcalc.dtypes import cache_dtype
from kvcalc.errors import UsageError
from kvcalc.memory.grid import Point
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
    if chart and format != "table":
        raise UsageError("--chart stands under a table; --plot FILE.svg draws beside any format")
    plot_format, names = _plot_format(plot, force), expand(models)
    question = CompareQuestion(
        contexts=tuple(options.token_list(context, "--context")),
        batches=tuple(options.token_list(batch, "--batch")),
        kv_dtypes=tuple(map(cache_dtype, kv_dtype.split(","))),
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"), dtype=weights.word,
        state_dtype=state_dtype, by=None if sort == "given" else sort,
        attentions=() if attention is None else tuple(map(options.attention, attention.split(","))),
        set_fields=tuple(set_fields or ()),
    )  # fmt: skip
    found = comparison(map(locate, track(names, len(names), "reading", quiet=quiet)), question)
    if plot is not None:
        _draw(plot, found.picture(), plot_format, force, names, quiet)
    if format == "table" and found.num_points > MAX_TABLE_ROWS:
        raise UsageError(f"more than {MAX_TABLE_ROWS} rows are no table: use --format csv")
    points: Iterable[Point] = found.points()
    if not (format == "csv" and sys.stdout.isatty()):
        points = track(points, found.num_points, "computing", quiet=quiet)
    notes = found.notes
    show(format, answer(points, found.first, notes), quiet=quiet, notes=notes)
    if chart:
        from kvcalc.report.drawings import characters

        write("\n" + characters.render(found.picture()))


def _draw(
    plot: Path, picture: "Picture", format: str, force: bool, read: list[str], quiet: bool
) -> None:
    """Write the drawing. read: the models, none of which it may take the place of."""
    from kvcalc.report.drawings import plot as drawing

    write_file(plot, drawing.render(picture, format), force, read)
    if not quiet:
        note(f"wrote {plot}")


def _plot_format(plot: Path | None, force: bool) -> str:
    """Whether a plot can be drawn is said before anything is computed."""
    if plot is None:
        return ""
    spare(plot, force)
    from kvcalc.report.drawings.plot import check_format

    return check_format(plot.name)
