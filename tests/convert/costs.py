"""What it costs to refuse a file: memory and time of a fresh process."""

import subprocess
import sys
from pathlib import Path

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


def cost_of(path: Path) -> tuple[str, int, float]:
    """The error about a file, the peak of memory in bytes, and the seconds."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, path], capture_output=True, text=True)
    assert not done.stderr
    message, figures = done.stdout.splitlines()
    peak_bytes, seconds = figures.split()
    return message, int(peak_bytes), float(seconds)
