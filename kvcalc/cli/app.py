"""The ``kvcalc`` command: finds the subcommand, runs it, and turns errors into exit status.

Exit status: 0 done and good, 1 it ran and found something, 2 it could not run.
Only the subcommand that was asked for is imported: typer inspects every command it is given, and
``kvcalc estimate`` should start as fast as a calculator.
"""

import os
import sys
from importlib import import_module
from typing import Any

import typer

from kvcalc import __version__
from kvcalc.errors import KvcalcError

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

  kvcalc estimate llama-3-8b --context 128k --batch 32    what it takes, tensor by tensor
  kvcalc compare llama-3-8b deepseek-v3 --context 8k,128k models side by side
  kvcalc compare llama-3-8b --attention mha,gqa,mqa,mla   what another attention would take
  kvcalc fit llama-3-70b --gpu h100-80gb                  does it fit, and what would make it fit
  kvcalc explain gemma-3-27b                              the equations, with this model's numbers
  kvcalc models                                           the models that come with kvcalc
  kvcalc import config.json                               a spec from a Hugging Face config
  kvcalc capacity qwen3-8b --engine vllm --gpu h100-80gb  what an engine will allocate
  kvcalc check model_specs                                hold specs to their numbers, in CI
  kvcalc diff --base origin/main                          what a branch changes
  kvcalc report llama-3-8b gemma-3-27b -o report.html     one page with tables, plots and a form
  kvcalc verify gemma-3-1b                                real PyTorch models against the numbers

'kvcalc COMMAND --help' shows a command's options.
"""


def build(commands: tuple[str, ...]) -> typer.Typer:
    """A typer application with these commands."""
    app = typer.Typer(
        name="kvcalc",
        help="Exact KV-cache, attention and parameter memory of transformer models.",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for command in commands:
        module, function = COMMANDS[command]
        app.command(command)(getattr(import_module(module), function))
    return app


def _root(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and its environment."),
) -> None:
    """Exact KV-cache, attention and parameter memory of transformer models."""
    if version:
        print(_environment())
    elif ctx.invoked_subcommand is None:
        print(_OVERVIEW.format(version=__version__), end="")


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
    arguments = sys.argv[1:] if arguments is None else arguments
    first = arguments[0] if arguments else ""
    completing = "_KVCALC_COMPLETE" in os.environ
    commands = (first,) if first in COMMANDS and not completing else tuple(COMMANDS)
    try:
        status = build(commands)(args=arguments, prog_name="kvcalc", standalone_mode=False)
    except KvcalcError as error:
        status = _fail(error, arguments)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        # typer's usage errors; their class is click's in some versions and vendored in others.
        if hasattr(error, "format_message"):
            status = _usage(error, arguments)
        elif "KVCALC_TRACEBACK" in os.environ:
            raise
        else:
            status = _fail(_bug(error), arguments)
    raise SystemExit(status if isinstance(status, int) else 0)


def _wants_json(arguments: list[str]) -> bool:
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(a == "--format=json" or (a == "--format" and b == "json") for a, b in pairs)


def _fail(error: KvcalcError, arguments: list[str]) -> int:
    if _wants_json(arguments):
        from kvcalc.report.error_json import render

        print(render(error))
    else:
        for problem in error.problems:
            print(f"{problem} [{problem.code}]", file=sys.stderr)
        print(f"kvcalc: {error.message}", file=sys.stderr)
    return 2


def _bug(error: Exception) -> KvcalcError:
    """What a user sees of an error that nobody foresaw."""
    what = f"{type(error).__name__}: {error}"
    return KvcalcError(
        f"internal error, please report it ({what}); KVCALC_TRACEBACK=1 shows where it happened"
    )


def _usage(error: Any, arguments: list[str]) -> int:
    if type(error).__name__ == "Abort":
        return 130
    if _wants_json(arguments):
        return _fail(KvcalcError(error.format_message()), arguments)
    error.show(file=sys.stderr)
    return 2
