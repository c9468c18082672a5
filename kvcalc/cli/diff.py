"""``kvcalc diff``: what a branch changes in the numbers of its specs, both sides taken from git."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.output import note, write
from kvcalc.cli.progress import track
from kvcalc.errors import UsageError

if TYPE_CHECKING:
    from kvcalc.checks.quantities import Tolerance


class DiffFormat(StrEnum):
    """How differences are printed."""

    table = "table"
    json = "json"
    markdown = "markdown"
    github = "github"


class FailOn(StrEnum):
    """What makes the exit status 1."""

    increase = "increase"
    any = "any"
    none = "none"


def diff(
    base: Annotated[
        str,
        typer.Option(
            metavar="REV", help="Branch, tag or commit to compare with.", show_default=False
        ),
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Specs, and folders of them.",
            autocompletion=completion.path,
            show_default="the current folder",
        ),
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option(
            help="Which differences make the exit status 1.", metavar=options.choices(FailOn)
        ),
    ] = FailOn.increase,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUANTITY=BOUND",
            help="Growth that is no finding: weight_bytes=1%, cache_bytes=64MiB, all=0.5%.",
            show_default="the policy's",
        ),
    ] = None,
    context: Annotated[
        str,
        typer.Option(help="Cached tokens of one sequence: 8192, 8k, 128k, 1m.", metavar="TOKENS"),
    ] = "8k",
    batch: options.Batch = 1,
    dtype: options.Dtype = None,
    kv_dtype: options.KvDtype = "bf16",
    merge_base: Annotated[
        bool,
        typer.Option(
            "--merge-base/--no-merge-base",
            help="Compare with where this branch left REV, or with REV itself.",
        ),
    ] = True,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="The team's tolerances.",
            metavar="FILE",
            autocompletion=completion.path,
            show_default="the nearest kvcalc.yaml upward from PATH",
        ),
    ] = None,
    format: Annotated[DiffFormat, options.format_option(DiffFormat)] = DiffFormat.table,
    quiet: options.QuietFindings = False,
) -> None:
    """What specs changed since a git revision, in bytes and fields.

    Exit status 1 for growth, or as --fail-on says.

    Example: kvcalc diff --base origin/main
    """
    from kvcalc.checks.diff import diff as compute
    from kvcalc.checks.quantities import Reference

    tokens = options.tokens(context, "--context")
    assert tokens is not None
    where = tuple(paths or [Path()])
    reference = Reference(context_tokens=tokens, batch_size=batch, dtype=dtype, kv_dtype=kv_dtype)
    tolerances = _tolerances(tolerance or [], policy, where[0])
    watch = partial(track, what="comparing", quiet=quiet)
    result = compute(where, base, reference, tolerances, merge_base=merge_base, watch=watch)
    failed = result.fails(fail_on.value)
    if quiet and not failed and format in (DiffFormat.table, DiffFormat.markdown):
        return
    if format is DiffFormat.json:
        from kvcalc.report import diff_json

        write(diff_json.render(result, fail_on.value))
    elif format is DiffFormat.markdown:
        from kvcalc.report import diff_markdown

        write(diff_markdown.render(result))
    elif format is DiffFormat.github:
        from kvcalc.report import diff_github

        write(diff_github.render(result, fail_on.value))
    else:
        from kvcalc.report import diff_table

        write(diff_table.render(result))
    for each in () if quiet else result.base.notes:
        note(f"note: {each}")
    if failed:
        raise typer.Exit(1)


def _tolerances(given: list[str], policy: Path | None, path: Path) -> "dict[str, Tolerance]":
    """The policy's tolerances, and over them what the command line says."""
    from kvcalc.checks.policy import find_policy, load_policy
    from kvcalc.checks.quantities import parse_tolerances

    chosen: dict[str, str] = {}
    file = policy or find_policy(path if path.is_dir() else path.parent)
    if file is not None:
        loaded = load_policy(file).policy
        chosen.update(loaded.tolerances if loaded is not None else {})
    for each in given:
        quantity, equals, bound = each.partition("=")
        if not equals:
            raise UsageError(f"--tolerance {each}: write QUANTITY=BOUND, such as cache_bytes=1%")
        chosen[quantity] = bound
    return parse_tolerances(chosen)
