"""``python -m kvcalc``: the same as the ``kvcalc`` command."""

from kvcalc.cli.app import main

main()
