"""``kvcalc check``: hold specs to their form, their expected values and their budgets, in CI."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import show
from kvcalc.cli.output import write
from kvcalc.cli.progress import track
from kvcalc.errors import UsageError
from kvcalc.report import findings, formats
from kvcalc.report.answers import check as answer

if TYPE_CHECKING:
    from kvcalc.checks.run import Report


FORMATS = (*findings.PRINTERS, *(word for word in formats.PRINTERS if word != "table"))
# Formats that a person reads; the others are whole however quiet it should be.
_FOR_PEOPLE = ("text", "markdown")


_Paths = Annotated[
    list[Path] | None,
    kinds.argument(
        "[PATH]...",
        "Specs, config.json files, a kvcalc.yaml, and folders of them.",
        completion.path,
        parser=options.named_path,
    ),
]
_Format = Annotated[
    str | None, options.format_option(FORMATS, "text; github within GitHub Actions")
]
_Policy = Annotated[
    Path | None,
    kinds.file("The team's budgets.", shown="the nearest kvcalc.yaml upward from a spec"),
]
_Strict = Annotated[bool, kinds.switch("--strict", "Warnings make the exit status 1, too.")]
_Rules = Annotated[
    bool, kinds.switch("--rules", "Print the rules and their codes, and check nothing.")
]


def check(
    paths: _Paths = None, format: _Format = None, policy: _Policy = None, strict: _Strict = False,
    rules: _Rules = False, quiet: options.QuietFindings = False,
) -> None:  # fmt: skip
    """Hold specs to their form, their numbers and their budgets.

    Exit status 1 for findings.

    Example: kvcalc check model_specs
    """
    if rules:
        word = "table" if format in (None, "text") else str(format)
        if word not in formats.PRINTERS:
            raise UsageError(f"--rules: a table of rules is no {word}; leave --format out, or json")
        show(word, answer.rules())
        return
    if format is None:
        format = "github" if _in_github_actions() else "text"
    if not paths:
        raise UsageError("name the specs to check: 'kvcalc check PATH...'")
    from kvcalc.checks.run import check_paths

    reports = check_paths(paths, policy, partial(track, what="checking", quiet=quiet))
    if not quiet or format not in _FOR_PEOPLE or any(each.problems for each in reports):
        _print(reports, format, strict)
    if any(each.errors or (strict and each.warnings) for each in reports):
        raise typer.Exit(1)


def _in_github_actions() -> bool:
    return "GITHUB_ACTIONS" in os.environ and "GITHUB_WORKFLOW" in os.environ


def _print(reports: "tuple[Report, ...]", format: str, strict: bool) -> None:
    if format not in findings.PRINTERS:
        show(format, answer.answer(reports))
        return
    from datetime import UTC, datetime

    from kvcalc.report.findings.places import repository_root

    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    checked = findings.Checked(reports, repository_root(Path.cwd()), now, strict)
    write(findings.render(format, checked))
