"""``kvcalc check``: hold specs to their form, their expected values and their budgets, in CI."""

import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.output import write
from kvcalc.cli.progress import track
from kvcalc.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from kvcalc.checks.run import Report


class CheckFormat(StrEnum):
    """How findings are printed."""

    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"
    junit = "junit"
    gitlab = "gitlab"
    markdown = "markdown"


# Formats that a person reads; the others are whole however quiet it should be.
_FOR_PEOPLE = (CheckFormat.text, CheckFormat.markdown)


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Specs, config.json files, a kvcalc.yaml, and folders of them.",
            parser=options.named_path,
            autocompletion=completion.path,
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        CheckFormat | None,
        options.format_option(CheckFormat, "text; github within GitHub Actions"),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="The team's budgets.",
            metavar="FILE",
            autocompletion=completion.path,
            show_default="the nearest kvcalc.yaml upward from a spec",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings make the exit status 1, too.")
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the rules and their codes, and check nothing.")
    ] = False,
    quiet: options.QuietFindings = False,
) -> None:
    """Hold specs to their form, their numbers and their budgets.

    Exit status 1 for findings.

    Example: kvcalc check model_specs
    """
    if format is None:
        format = CheckFormat.github if _in_github_actions() else CheckFormat.text
    if rules:
        write(_rules(format))
        return
    if not paths:
        raise UsageError("name the specs to check: 'kvcalc check PATH...'")
    from kvcalc.checks.run import check_paths
    from kvcalc.spec.catalog import shipped

    for path in paths:
        if not path.exists() and (spec := shipped().get(str(path))) is not None:
            raise NotFoundError(f"no such file: {path}; the shipped spec of that name is {spec}")
    reports = check_paths(paths, policy, partial(track, what="checking", quiet=quiet))
    if not quiet or format not in _FOR_PEOPLE or any(each.problems for each in reports):
        write(_render(reports, format, strict))
    if any(each.errors or (strict and each.warnings) for each in reports):
        raise typer.Exit(1)


def _in_github_actions() -> bool:
    return "GITHUB_ACTIONS" in os.environ and "GITHUB_WORKFLOW" in os.environ


def _rules(format: CheckFormat) -> str:
    if format is CheckFormat.json:
        from kvcalc.report import check_json

        return check_json.render_rules()
    from kvcalc.report import check_text

    return check_text.render_rules()


def _render(reports: "tuple[Report, ...]", format: CheckFormat, strict: bool) -> str:
    if format is CheckFormat.json:
        from kvcalc.report import check_json

        return check_json.render(reports)
    if format is CheckFormat.junit:
        from datetime import UTC, datetime

        from kvcalc.report import check_junit

        now = datetime.now(UTC).replace(tzinfo=None)
        return check_junit.render(reports, now.isoformat(timespec="seconds"), strict)
    if format is CheckFormat.markdown:
        from kvcalc.report import check_markdown

        return check_markdown.render(reports)
    if format is CheckFormat.text:
        from kvcalc.report import check_text

        return check_text.render(reports)
    from kvcalc.report.check_places import repository_root

    root = repository_root(Path.cwd())
    if format is CheckFormat.github:
        from kvcalc.report import check_github

        return check_github.render(reports, root)
    if format is CheckFormat.sarif:
        from kvcalc.report import check_sarif

        return check_sarif.render(reports, root)
    from kvcalc.report import check_gitlab

    return check_gitlab.render(reports, root)
