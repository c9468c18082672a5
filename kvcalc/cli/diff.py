"""``kvcalc diff``: what a branch changes in the numbers of its specs, both sides taken from git."""

from functools import partial
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from kvcalc.checks.diff import FailOn
from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import show
from kvcalc.cli.output import note, write
from kvcalc.cli.progress import track
from kvcalc.dtypes import cache_dtype
from kvcalc.errors import UsageError
from kvcalc.report.answers.diff import answer
from kvcalc.report.formats import PRINTERS

_Base = Annotated[str, kinds.option("REV", "Branch, tag or commit to compare with.", shown=False)]
_Paths = Annotated[
    list[Path] | None,
    kinds.argument(
        "[PATH]...",
        "Specs, config.json files, and folders of them.",
        completion.path,
        shown="the current folder",
        parser=options.named_path,
    ),
]
_FailOn = Annotated[
    str,
    kinds.choice(
        get_args(FailOn),
        "What makes the exit status 1: growth and loosened budgets, any difference, none.",
    ),
]
_Tolerance = Annotated[
    list[str] | None,
    kinds.option(
        "QUANTITY=BOUND",
        "Growth that is no finding: weight_bytes=1%, cache_bytes=64MiB, all=0.5%; weights "
        "and cache stand for their parts, unless one is named.",
        shown="the policy's",
    ),
]
_Context = Annotated[
    str | None,
    options.context_option("the policy's workload, or 8k"),
]
_Batch = Annotated[
    int | None, kinds.num("--batch", "Sequences.", show_default="the policy's workload, or 1")
]
_KvDtype = Annotated[
    str | None,
    options.kv_dtype_option("the policy's workload, or bf16"),
]
_MergeBase = Annotated[
    bool,
    kinds.switch(
        "--merge-base/--no-merge-base",
        "Compare with where this branch left REV, or with REV itself.",
    ),
]
_Policy = Annotated[
    Path | None,
    kinds.file(
        "The team's tolerances and workload.", shown="the nearest kvcalc.yaml upward from PATH"
    ),
]
_Format = Annotated[str, options.format_option((*PRINTERS, "github"))]


def diff(
    base: _Base, paths: _Paths = None, fail_on: _FailOn = "increase", tolerance: _Tolerance = None,
    context: _Context = None, batch: _Batch = None, dtype: options.Dtype = None,
    kv_dtype: _KvDtype = None, merge_base: _MergeBase = True, policy: _Policy = None,
    format: _Format = "table", quiet: options.QuietFindings = False,
) -> None:  # fmt: skip
    """What specs changed since a git revision, in bytes and fields.

    Exit status 1 for growth and for a loosened budget, or as --fail-on says.

    A budget is loosened when it is removed, when a limit is raised or dropped, when its GPUs have
    more memory or number more, when its engine is dropped, when it asks for a shorter context, a
    smaller batch or a smaller number format, or is for fewer models, and no other budget holds the
    limit; a tolerance, when it is raised.

    Example: kvcalc diff --base origin/main
    """
    from kvcalc.checks.question import DiffQuestion, diff_answer

    question = DiffQuestion(
        base=base, paths=tuple(paths or [Path()]), policy=policy,
        context_tokens=options.tokens(context, "--context"), batch_size=batch, dtype=dtype,
        kv_dtype=cache_dtype(kv_dtype) if kv_dtype else None, tolerances=_tolerances(tolerance or []),
        merge_base=merge_base,
    )  # fmt: skip
    result = diff_answer(question, partial(track, what="comparing", quiet=quiet))
    kind = cast(FailOn, fail_on)
    failed = result.fails(kind)
    if quiet and not failed and format in ("table", "markdown"):
        return
    if format in PRINTERS:
        show(format, answer(result, kind))
    else:
        from kvcalc.report.findings.github import diff_annotations

        write(diff_annotations(result, kind))
    for each in () if quiet else result.base.notes:
        note(f"note: {each}")
    if failed:
        raise typer.Exit(1)


def _tolerances(given: list[str]) -> dict[str, str]:
    """Quantity -> bound, as they were written."""
    found = {}
    for each in given:
        quantity, equals, bound = each.partition("=")
        if not equals:
            raise UsageError(f"--tolerance {each}: write QUANTITY=BOUND, such as cache_bytes=1%")
        found[quantity] = bound
    return found
