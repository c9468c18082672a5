"""Speed, as ratios to ``python -c pass`` on the same machine: ``python -m tests.bench``.

Prints, never asserts: a shared machine's clock is no test. CPU time of whole processes (user and
system), median of several runs; the machine's own noise cancels in the ratio.
"""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kvcalc.report.page import html
from kvcalc.spec.catalog import shipped
from tests.scratch import Scratch

RUNS = 9
KVCALC = (sys.executable, "-m", "kvcalc")
TEN = (
    "llama-3-8b", "gemma-3-27b", "deepseek-v3", "gpt-oss-120b", "qwen3-next-80b-a3b", "qwen3-8b",
    "mistral-7b-v0.3", "mixtral-8x7b", "mamba-2.8b", "t5-base",
)  # fmt: skip


def cpu_seconds(command: tuple[str, ...]) -> float:
    """CPU seconds of one run of a command. What it finds, status 1, is an answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False)  # fmt: skip
    assert done.returncode in (0, 1), command
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


def hundred(folder: Path) -> Scratch:
    """A repository of 100 shipped specs."""
    scratch = Scratch(folder).init()
    scratch.ship(*list(shipped())[:100])
    scratch.commit()
    return scratch


def grow(scratch: Scratch, number: int) -> None:
    """Give the first specs of a repository 64 rows more of their token table."""
    for file in sorted((scratch.folder / "serving").iterdir())[:number]:
        text = file.read_text("utf-8")
        wider = re.sub(r"^vocab_size: (\d+)", lambda found: f"vocab_size: {int(found[1]) + 64}",
                       text, flags=re.MULTILINE)  # fmt: skip
        assert wider != text, file
        file.write_text(wider, "utf-8")


# The page's own script with a document that draws nothing: what a keystroke computes.
PAGE = """
const fs = require("fs");
class Blank {
  setAttribute() {} append() {} appendChild() {} replaceChildren() {} addEventListener() {}
}
globalThis.document = { createElement: () => new Blank(), createElementNS: () => new Blank() };
const { kvcalc, charts } = new Function(process.argv[1] + "; return { kvcalc, charts }")();
const page = fs.readFileSync(process.argv[2], "utf-8");
const data = kvcalc.read(JSON.parse(/id="data">(.*?)<\\/script>/s.exec(page)[1]));
const place = { figure: new Blank(), legend: new Blank(), room: 800 };
const times = [];
for (let context = 1000n; times.length < 40; context += 997n) {
  const start = performance.now();
  const workload = { context, batch: 4n, encoder: null, kvDtype: "bf16", dtype: "published", rank: 0 };
  const answers = data.models.map((model) => kvcalc.answer(model, workload));
  const curves = data.models.map((model, index) => {
    const terms = answers[index].problem ? [] : kvcalc.terms(model, "bf16", 0);
    return { name: model.name, bends: model.bends, problem: answers[index].problem,
      held: (tokens) => 4n * kvcalc.most(terms, tokens, model.encoderTokens ?? 0n) };
  });
  charts.lines(place, data, curves, workload, () => {});
  charts.bars(place, data, answers);
  times.push(performance.now() - start);
}
times.sort((a, b) => a - b);
console.log(times[20].toFixed(1), times[39].toFixed(1));
"""


def page_milliseconds(page: Path) -> tuple[float, float]:
    """Median and worst time that the page's script takes to compute a workload, without drawing.

    The worst is the first, before node has compiled the script.
    """
    folder = Path(html.__file__).with_name("page")
    script = "\n".join((folder / name).read_text("utf-8") for name in ("recompute.js", "charts.js"))
    done = subprocess.run(("node", "-e", PAGE, script, str(page)), capture_output=True, check=True)
    median_ms, worst_ms = map(float, done.stdout.split())
    return median_ms, worst_ms


def specs_in_git(bare: float) -> None:
    """``check`` and ``diff`` of a team's repository."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = hundred(Path(folder))
        serving = f"{folder}/serving"
        cost = median((*KVCALC, "check", serving), 3) / bare
        print(f"{'check of 100 specs':<32} {cost:6.1f}   (aim: 25)")
        for number in (0, 1, 10, 100):
            grow(scratch, number)
            command = (*KVCALC, "diff", "--base", "main", serving)
            cost = median(command, 3) / bare
            print(f"{f'diff of 100 specs, {number} changed':<32} {cost:6.1f}   (aim: 50)")
            scratch.git("checkout", "-q", ".")


def pages(bare: float) -> None:
    """``kvcalc report``, and what its page computes for each keystroke."""
    sixty = [name for name in shipped() if name not in TEN][: 60 - len(TEN)]
    for names in (TEN, (*TEN, *sixty)):
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            cost = median((*KVCALC, "report", *names, "-o", str(page), "--force"), 3) / bare
            size = page.stat().st_size // 1024
            print(f"{f'report of {len(names)} models, {size} KiB':<32} {cost:6.1f}   (aim: -)")
            if shutil.which("node"):
                usual, worst = page_milliseconds(page)
                print(f"  its page, a keystroke            {usual:.1f} ms, {worst:.1f} ms at worst, "
                      "without drawing   (aim: 16 ms)")  # fmt: skip


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
    specs_in_git(bare)
    pages(bare)


if __name__ == "__main__":
    main()
