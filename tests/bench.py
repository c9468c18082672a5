"""Speed, as ratios to ``python -c pass`` on the same machine: ``python -m tests.bench``.

Prints, never asserts: a shared machine's clock is no test. CPU time of whole processes (user and
system), median of several runs; the machine's own noise cancels in the ratio.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 9
KVCALC = (sys.executable, "-m", "kvcalc")


def cpu_seconds(command: tuple[str, ...]) -> float:
    """CPU seconds of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median(command: tuple[str, ...], runs: int = RUNS) -> float:
    """Median CPU seconds of several runs."""
    return statistics.median(cpu_seconds(command) for _ in range(runs))


def peak_mib(command: tuple[str, ...]) -> int:
    """Peak resident memory of a command, in MiB."""
    with tempfile.TemporaryFile() as sink:
        process = subprocess.Popen(command, stdout=sink)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss // 1024


def main() -> None:
    """Print one line per promise: what was run, what it cost, what was aimed at."""
    specs = str(Path(__file__).resolve().parent.parent / "model_specs")
    bare = median((sys.executable, "-c", "pass"), 2 * RUNS)
    print(f"python -c pass: {bare * 1000:.0f} ms of CPU; ratios to it below")
    for name, command, runs, aim in (
        ("estimate NAME --format json", ("estimate", "llama-3-8b", "--format", "json"), RUNS, "8"),
        ("estimate NAME (table)", ("estimate", "llama-3-8b"), RUNS, "-"),
        ("check model_specs, all of them", ("check", specs), 3, "25 for 100"),
        ("models", ("models",), 3, "-"),
    ):
        print(f"{name:<32} {median((*KVCALC, *command), runs) / bare:6.1f}   (aim: {aim})")
    grid = ("compare", "gemma-3-27b", "--context", "100:100000:100", "--batch", "1:100:1",
            "--format", "csv")  # fmt: skip
    start = time.perf_counter()
    peak = peak_mib((*KVCALC, *grid))
    seconds = time.perf_counter() - start
    print(f"compare, 100,000 points in CSV    {seconds:.1f} s, {peak} MiB   (aim: 3 s, 200 MiB)")


if __name__ == "__main__":
    main()
