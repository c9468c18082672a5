"""The ``kvcalc`` command, and ``python -m kvcalc``: an interrupt at any time is one line.

The command line itself is imported inside, because most of a short run is imports.
"""

import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line. Raises SystemExit; 130 for an interrupt, as shells have it."""
    try:
        from kvcalc.cli.later import put_off

        with put_off():
            import typer  # noqa: F401

            if "_KVCALC_COMPLETE" in os.environ:
                from typer.completion import shell_complete  # noqa: F401
        from kvcalc.cli.app import main as run

        run()
    except KeyboardInterrupt:
        interrupted()


def interrupted() -> None:
    """Say so, where anybody can read it, and end."""
    # stderr may be closed, or not there at all.
    with suppress(OSError, AttributeError):
        print("kvcalc: interrupted", file=sys.stderr, flush=True)
    raise SystemExit(130)


if __name__ == "__main__":
    main()
