"""The ``kvcalc`` command: finds the subcommand, runs it, and turns errors into exit status.

Exit status: 0 done and good, 1 it ran and found something, 2 it could not run.
Only the subcommand that was asked for is imported: typer inspects every command it is given, and
``kvcalc estimate`` should start as fast as a calculator.
"""

import os
import sys
from itertools import pairwise

from kvcalc.cli import completion
from kvcalc.cli.commands import COMMANDS, build
from kvcalc.cli.kinds import folded
from kvcalc.cli.output import note, open_closed
from kvcalc.errors import FileError, KvcalcError, UsageError, one_line


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Raises SystemExit with the contract's status; never shows a traceback."""
    open_closed()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if any(word.startswith("--") and "." in word.partition("=")[0] for word in arguments):
            from kvcalc.cli.dotted import undotted

            arguments = undotted(arguments)
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
        from kvcalc.cli.groups import show
        from kvcalc.report.objects.error import Error
        from kvcalc.report.objects.filled import filled
        from kvcalc.report.sheet import Answer

        try:
            show("json", Answer(lambda: [], lambda: {"error": filled(Error, error)}))
            return 2
        except FileError:
            pass
    for problem in error.left_out:
        note(f"{problem} [{problem.code}]")
    note(f"kvcalc: {one_line(error.message)}")
    return 2


def _bug(error: Exception) -> KvcalcError:
    """What a user sees of an error that nobody foresaw."""
    what = f"{type(error).__name__}: {error}"
    return KvcalcError(
        f"internal error, please report it ({what}); KVCALC_TRACEBACK=1 shows where it happened"
    )
