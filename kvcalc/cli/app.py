"""The ``kvcalc`` command: finds the subcommand, runs it, and turns errors into exit status.

Exit status: 0 done and good, 1 it ran and found something, 2 it could not run.
Only the subcommand that was asked for is imported: typer inspects every command it is given, and
``kvcalc estimate`` should start as fast as a calculator.
"""

import os
import sys
from importlib import import_module
from itertools import pairwise
from typing import Any

import typer

from kvcalc import __version__
from kvcalc.cli import completion
from kvcalc.cli.options import folded
from kvcalc.cli.output import note, open_closed, write
from kvcalc.errors import FileError, KvcalcError, UsageError

# command -> (module, function): the order of `kvcalc --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "estimate": ("kvcalc.cli.estimate", "estimate"),
    "compare": ("kvcalc.cli.compare", "compare"),
    "explain": ("kvcalc.cli.explain", "explain"),
    "models": ("kvcalc.cli.models", "models"),
    "check": ("kvcalc.cli.check", "check"),
    "diff": ("kvcalc.cli.diff", "diff"),
    "report": ("kvcalc.cli.report", "report"),
    "schema": ("kvcalc.cli.schema", "schema"),
    "import": ("kvcalc.cli.import_", "import_"),
    "capacity": ("kvcalc.cli.capacity", "capacity"),
    "fit": ("kvcalc.cli.fit", "fit"),
    "verify": ("kvcalc.cli.verify", "verify"),
}

_OVERVIEW = """\
kvcalc {version}: exact KV-cache, attention and parameter memory of transformer models

what a model takes         kvcalc estimate llama-3-8b --context 128k --batch 32
models side by side        kvcalc compare llama-3-8b deepseek-v3 --context 8k,128k
another attention          kvcalc compare llama-3-8b --attention mha,gqa,mqa,mla
does it fit                kvcalc fit llama-3-70b --gpu h100-80gb
the equations              kvcalc explain gemma-3-27b
what an engine allocates   kvcalc capacity qwen3-8b --gpu h100-80gb
the models it comes with   kvcalc models
a spec from a config       kvcalc import config.json -o my-model.yaml
hold specs, in CI          kvcalc check model_specs
what a branch changes      kvcalc diff --base origin/main
one page to send around    kvcalc report llama-3-8b gemma-3-27b -o report.html
against real PyTorch       kvcalc verify gemma-3-1b

'kvcalc COMMAND --help' shows a command's options.
"""


def build(commands: tuple[str, ...]) -> typer.Typer:
    """A typer application with these commands."""
    app = typer.Typer(
        name="kvcalc",
        help="Exact KV-cache, attention and parameter memory of transformer models.",
        pretty_exceptions_enable=False,
        # Panels would cut words, and cost as much as the answer.
        rich_markup_mode=None,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": 100,
            "token_normalize_func": folded,
        },
    )
    app.callback(invoke_without_command=True)(_root)
    for command in commands:
        module, function = COMMANDS[command]
        app.command(command)(getattr(import_module(module), function))
    return app


def commands_of(names: tuple[str, ...]) -> dict[str, Any]:
    """These commands as typer sees them, with their parameters."""
    from typer.main import get_command

    group: Any = get_command(build(names))
    return {name: group.commands[name] for name in names}


def _root(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and its environment."),
) -> None:
    """Exact KV-cache, attention and parameter memory of transformer models."""
    if version:
        write(_environment() + "\n")
    elif ctx.invoked_subcommand is None:
        write(_OVERVIEW.format(version=__version__))


def _environment() -> str:
    """What a bug report needs: versions of what kvcalc runs on, of extras only if they are there."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    lines = [f"kvcalc {__version__} (Python {platform.python_version()}, {platform.platform()})"]
    for package in ("typer", "rich", "pyyaml", "torch", "transformers", "huggingface_hub",
                    "matplotlib"):  # fmt: skip
        try:
            lines.append(f"  {package} {version_of(package)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Raises SystemExit with the contract's status; never shows a traceback."""
    open_closed()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = build(_needed(arguments))(
            args=arguments, prog_name="kvcalc", standalone_mode=False
        )
    except KvcalcError as error:
        status = _fail(error, arguments)
    except KeyboardInterrupt:
        note("kvcalc: interrupted")
        status = 130
    except Exception as error:
        # typer's usage errors; their class is click's in some versions and vendored in others.
        if hasattr(error, "format_message"):
            from kvcalc.cli.hints import message

            status = _fail(UsageError(message(error, arguments)), arguments)
        elif type(error).__name__ == "Abort":
            status = 130
        elif "KVCALC_TRACEBACK" in os.environ:
            raise
        elif isinstance(error, OSError):
            where = f": {error.filename}" if error.filename else ""
            status = _fail(FileError(f"{error.strerror}{where}"), arguments)
        else:
            status = _fail(_bug(error), arguments)
    raise SystemExit(status if isinstance(status, int) else 0)


def _needed(arguments: list[str]) -> tuple[str, ...]:
    """The commands that these words can lead to."""
    words = completion.words() if "_KVCALC_COMPLETE" in os.environ else arguments
    first = folded(words[0]) if words else ""
    if first in COMMANDS:
        return (first,)
    return () if words is arguments and first in ("", "--version") else tuple(COMMANDS)


def _wants_json(arguments: list[str]) -> bool:
    words = [folded(word) for word in arguments]
    return "--format=json" in words or ("--format", "json") in pairwise(words)


def _fail(error: KvcalcError, arguments: list[str]) -> int:
    """Say what is wrong: as JSON where that was asked for and somebody can read it."""
    if _wants_json(arguments):
        from kvcalc.cli.show import show
        from kvcalc.report.answers.error import answer

        try:
            show("json", answer(error))
            return 2
        except FileError:
            pass
    for problem in error.left_out:
        note(f"{problem} [{problem.code}]")
    note(f"kvcalc: {error.message}")
    return 2


def _bug(error: Exception) -> KvcalcError:
    """What a user sees of an error that nobody foresaw."""
    what = f"{type(error).__name__}: {error}"
    return KvcalcError(
        f"internal error, please report it ({what}); KVCALC_TRACEBACK=1 shows where it happened"
    )
