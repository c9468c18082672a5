"""``kvcalc check``: hold specs to their form, their expected values and their budgets, in CI."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kvcalc.errors import UsageError


class CheckFormat(StrEnum):
    """How findings are printed."""

    text = "text"
    json = "json"


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            help="YAML specs, and folders that are searched for them.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        CheckFormat, typer.Option("--format", help="How to print the findings.")
    ] = CheckFormat.text,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings make the exit status 1, too.")
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the rules and their codes, and check nothing.")
    ] = False,
) -> None:
    """Check specs: form, consistency, expected values and budgets. Exit status 1 for findings.

    Example: kvcalc check model_specs
    """
    if format is CheckFormat.json:
        from kvcalc.report import check_json as report
    else:
        from kvcalc.report import check_text as report  # type: ignore[no-redef]
    if rules:
        print(report.render_rules(), end="")
        return
    if not paths:
        raise UsageError("name the specs to check: 'kvcalc check PATH...'")
    from kvcalc.checks.run import check_paths

    reports = check_paths(paths)
    print(report.render(reports), end="")
    if any(each.errors or (strict and each.warnings) for each in reports):
        raise typer.Exit(1)
