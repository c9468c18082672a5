"""What it may cost to read or refuse a file: little memory, and two seconds."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kvcalc.errors import KvcalcError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_PROGRAM = """
import re, resource, sys
from kvcalc.convert.files import load_model
from kvcalc.errors import KvcalcError
try:
    load_model(sys.argv[1])
except KvcalcError as error:
    print(error.message[:200])
# Not ru_maxrss, which has the parent's in it.
with open("/proc/self/status") as status:
    peak = re.search("VmHWM: *([0-9]+) kB", status.read().replace(chr(9), " "))[1]
used = resource.getrusage(resource.RUSAGE_SELF)
print(int(peak) * 1024, used.ru_utime + used.ru_stime)
"""


def refused_cheaply(path: Path) -> None:
    """A fresh process names a file that it refuses, within 200 MB and 2 seconds."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, path], capture_output=True, text=True)
    assert not done.stderr
    message, figures = done.stdout.splitlines()
    peak_bytes, seconds = figures.split()
    assert str(path) in message
    assert int(peak_bytes) < 200_000_000
    assert float(seconds) < 2


def answered_soon(read: Callable[[], object]) -> None:
    """An answer, or an error that kvcalc raises on purpose, within 2 seconds."""
    started = time.process_time()
    with contextlib.suppress(KvcalcError):
        read()
    assert time.process_time() - started < 2
