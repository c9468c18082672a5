"""Speed, as ratios to ``python -c pass`` on the same machine: ``python -m tests.bench [WORD...]``.

Prints, never asserts: a shared machine's clock is no test. CPU time of whole processes (user and
system); each round runs the bare Python, this tree and the build of ``BEFORE`` one after the other, so
that the machine's own noise cancels in the medians' ratio. A word runs the rows that hold it; ``--long``
adds those of minutes. tests/BENCH.md has the figures, and how each cost grows.
"""

import contextlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kvcalc.convert.hf import class_defaults
from kvcalc.spec.catalog import shipped
from tests.convert import safetensors_files
from tests.scratch import Scratch

ROOT = Path(__file__).resolve().parent.parent
# The build that stands beside today's: made anew from git, where git has it.
BEFORE = "f31543e"
KVCALC = (sys.executable, "-m", "kvcalc")
TEN = (
    "llama-3-8b", "gemma-3-27b", "deepseek-v3", "gpt-oss-120b", "qwen3-next-80b-a3b", "qwen3-8b",
    "mistral-7b-v0.3", "mixtral-8x7b", "mamba-2.8b", "t5-base",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the table.

    make: its command, and the files that it is run on. aim: the ratio to reach. env: beside the usual.
    """

    name: str
    make: Callable[[], tuple[str, ...]]
    aim: str
    rounds: int = 3
    env: dict[str, str] = field(default_factory=dict)
    long: bool = False


def cpu(command: tuple[str, ...], env: dict[str, str]) -> tuple[float, int]:
    """CPU seconds and peak MiB of one run. What it finds, status 1, is an answer; else no number.

    Linux counts the peak from this program's own, some 30 MiB.
    """
    with tempfile.TemporaryFile() as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, cwd=tempfile.gettempdir(), env=env
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise ChildProcessError(f"status {process.returncode}: {' '.join(command)[:200]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


def environment(tree: Path, cache: Path) -> dict[str, str]:
    """Run the package of a tree, its bytecode in a folder of its own."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(cache)}


@contextlib.contextmanager
def before(folder: Path) -> Iterator[Path | None]:
    """A tree of the build before; None where git does not have it."""
    place = folder / "before"
    made = subprocess.run(
        ("git", "worktree", "add", "--detach", str(place), BEFORE), cwd=ROOT, capture_output=True,
        check=False,
    )  # fmt: skip
    try:
        yield place if made.returncode == 0 else None
    finally:
        if made.returncode == 0:
            subprocess.run(
                ("git", "worktree", "remove", "--force", str(place)), cwd=ROOT, check=False
            )


def compare(case: Case, trees: dict[str, dict[str, str]]) -> str:
    """The row's figures: today's ratio and peak, and those of the build before."""
    command = case.make()
    seconds: dict[str, list[float]] = {"bare": []}
    peaks: dict[str, int] = {}
    broken: set[str] = set()
    # A first round writes bytecode, and is not counted.
    for turn in range(case.rounds + 1):
        found, _ = cpu((sys.executable, "-c", "pass"), trees["today"])
        seconds["bare"] += [found] if turn else []
        for name in trees.keys() - broken:
            try:
                found, peak = cpu(command, trees[name] | case.env)
            except ChildProcessError:
                broken.add(name)
                continue
            if turn:
                seconds.setdefault(name, []).append(found)
                peaks[name] = max(peak, peaks.get(name, 0))
    bare = statistics.median(seconds["bare"])
    figures = [
        f"{statistics.median(seconds[name]) / bare:7.1f} {peaks[name]:4d} MiB" if name in seconds
        else f"{'-':>7} {'-':>4}    "
        for name in ("today", "before")
    ]  # fmt: skip
    return f"{case.name:<44} {figures[1]}  {figures[0]}   {case.aim}"


# ---------------------------------------------------------------- what is run on


def copies(folder: Path, number: int) -> Path:
    """A folder of so many specs: the shipped ones, under names of their own."""
    folder.mkdir()
    files = list(shipped().items())
    for index in range(number):
        name, path = files[index % len(files)]
        own = f"{name}-{index}"
        text = re.sub(r"^name: .*$", f"name: {own}", path.read_text("utf-8"), flags=re.MULTILINE)
        (folder / f"{own}.yaml").write_text(text, "utf-8")
    return folder


def team(folder: Path, number: int) -> Path:
    """The specs of a repository of 100, of which so many got 64 rows more of their token table."""
    scratch = Scratch(folder).init()
    scratch.ship(*list(shipped())[:100])
    scratch.commit()
    serving = folder / "serving"
    for file in sorted(serving.iterdir())[:number]:
        text = file.read_text("utf-8")
        wider = re.sub(r"^vocab_size: (\d+)", lambda found: f"vocab_size: {int(found[1]) + 64}",
                       text, flags=re.MULTILINE)  # fmt: skip
        assert wider != text, file
        file.write_text(wider, "utf-8")
    return serving


def requests(path: Path, number: int) -> Path:
    """A file of requests of many lengths, the same every time."""
    chance = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        file.write("prompt,output\n")
        file.writelines(
            f"{int(chance.lognormvariate(7, 1))},{int(chance.lognormvariate(5.5, 1))}\n"
            for _ in range(number)
        )
    return path


def checkpoint(folder: Path) -> Path:
    """DeepSeek-V3's own: 163 files of headers, a tensor for every expert and a scale beside it."""
    folder.mkdir()
    config = {"model_type": "deepseek_v3", **class_defaults()["deepseek_v3"]["defaults"],
              "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128],
                                      "fmt": "e4m3", "activation_scheme": "dynamic"}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    tensors: safetensors_files.Tensors = {}

    def linear(name: str, rows: int, columns: int) -> None:
        tensors[f"{name}.weight"] = ("F8_E4M3", [rows, columns])
        tensors[f"{name}.weight_scale_inv"] = ("F32", [-(-rows // 128), -(-columns // 128)])

    tensors["model.embed_tokens.weight"] = ("BF16", [129280, 7168])
    for index in range(61):
        place = f"model.layers.{index}."
        norms = {"input_layernorm": 7168, "post_attention_layernorm": 7168,
                 "self_attn.q_a_layernorm": 1536, "self_attn.kv_a_layernorm": 512}  # fmt: skip
        for name, width in norms.items():
            tensors[f"{place}{name}.weight"] = ("BF16", [width])
        for name, rows, columns in (("q_a_proj", 1536, 7168), ("q_b_proj", 24576, 1536),
                                    ("kv_a_proj_with_mqa", 576, 7168), ("kv_b_proj", 32768, 512),
                                    ("o_proj", 7168, 16384)):  # fmt: skip
            linear(f"{place}self_attn.{name}", rows, columns)
        experts = {"": 18432} if index < 3 else {f"experts.{e}.": 2048 for e in range(256)}
        if index >= 3:
            experts["shared_experts."] = 2048
            tensors[f"{place}mlp.gate.weight"] = ("BF16", [256, 7168])
            tensors[f"{place}mlp.gate.e_score_correction_bias"] = ("F32", [256])
        for expert, width in experts.items():
            linear(f"{place}mlp.{expert}gate_proj", width, 7168)
            linear(f"{place}mlp.{expert}up_proj", width, 7168)
            linear(f"{place}mlp.{expert}down_proj", 7168, width)
    tensors["model.norm.weight"] = ("BF16", [7168])
    tensors["lm_head.weight"] = ("BF16", [129280, 7168])
    items = list(tensors.items())
    size = -(-len(items) // 163)
    weight_map = {}
    for number in range(163):
        part = dict(items[number * size : (number + 1) * size])
        name = f"model-{number + 1:05d}-of-000163.safetensors"
        safetensors_files.save(folder / name, part)
        weight_map |= dict.fromkeys(part, name)
    index_file = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_file), "utf-8")
    return folder


def many_layers(path: Path, number: int = 1000, hidden_size: int = 512) -> Path:
    """A model of so many layers, no two alike in weights or in what they keep."""
    blocks = "".join(
        f"  b{index}:\n    attention: {{kind: gqa, num_attention_heads: 8, num_key_value_heads: "
        f"{(1, 2, 4, 8)[index % 4]}, head_dim: {64 + 2 * (index % 32)}, sliding_window: "
        f"{1024 + index}}}\n    ffn: {{kind: gated, intermediate_size: {1024 + 8 * index}}}\n"
        for index in range(number)
    )
    names = ", ".join(f"b{index}" for index in range(number))
    path.write_text(
        f"name: {path.stem}\nsource: made up\nhidden_size: {hidden_size}\nvocab_size: 1000\n"
        f"tie_word_embeddings: true\nblocks:\n{blocks}layers:\n  - {{repeat: 1, blocks: [{names}]}}\n",
        "utf-8",
    )
    return path


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
    folder = ROOT / "kvcalc" / "report" / "page"
    script = "\n".join((folder / name).read_text("utf-8") for name in ("recompute.js", "charts.js"))
    done = subprocess.run(("node", "-e", PAGE, script, str(page)), capture_output=True, check=True)
    median_ms, worst_ms = map(float, done.stdout.split())
    return median_ms, worst_ms


# ---------------------------------------------------------------- the rows

_LOADED = """
import kvcalc
spec = kvcalc.load("llama-3-8b")
for _ in range(4000):
    kvcalc.estimate(spec)
"""


def cases(folder: Path) -> Iterator[Case]:
    """The rows of the table."""

    def kvcalc(*words: object) -> Callable[[], tuple[str, ...]]:
        """The command line; a file that is costly to make is a function, called when its row runs."""
        return lambda: (*KVCALC, *(str(word() if callable(word) else word) for word in words))

    def python(text: str) -> Callable[[], tuple[str, ...]]:
        return lambda: (sys.executable, "-c", text)

    typed = {"_KVCALC_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "kvcalc estimate llama-3"}
    empty = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "none")}
    estimate = ("estimate", "llama-3-8b")
    yield Case("import typer", python("import typer"), "-", 9)
    yield Case("estimate NAME --format json", kvcalc(*estimate, "--format", "json"), "6.5", 9)
    yield Case("  without bytecode, Python's own neither",
               kvcalc(*estimate, "--format", "json"), "-", 3, empty)  # fmt: skip
    yield Case("completion of a name", kvcalc(), "7", 9, typed)
    yield Case("estimate NAME", kvcalc(*estimate), "-", 9)
    yield Case("library: import and one estimate",
               python("import kvcalc; kvcalc.estimate('llama-3-8b')"), "-", 9)  # fmt: skip
    yield Case("library: 4,000 estimates of a loaded spec", python(_LOADED), "-")
    config = folder / "config.json"
    config.write_text(json.dumps(safetensors_files.CONFIG), "utf-8")
    yield Case("estimate config.json", kvcalc("estimate", config, "--format", "json"), "-", 9)
    yield Case("models", kvcalc("models"), "8")
    yield Case("check of 1,000 specs", kvcalc("check", lambda: copies(folder / "k1", 1000)), "45")
    yield Case("check of 5,000 specs", kvcalc("check", lambda: copies(folder / "k5", 5000)), "210",
               1, long=True)  # fmt: skip
    yield Case("diff of 100 specs, 10 changed",
               kvcalc("diff", "--base", "main", lambda: team(folder / "team", 10)), "-")  # fmt: skip
    yield Case("fit NAME --gpus all", kvcalc("fit", "llama-3-8b", "--gpus", "all"), "15")
    yield Case("fit of every shipped model",
               kvcalc("fit", "*", "--gpu", "rtx-4090", "--context", "16k"), "300")  # fmt: skip
    sixty = [*TEN, *[name for name in shipped() if name not in TEN][: 60 - len(TEN)]]
    yield Case("report of 60 models",
               kvcalc("report", *sixty, "-o", folder / "page.html", "--force"), "45")  # fmt: skip
    for name, number, aim in (("a", 10**6, "50"), ("ten", 10**7, "400")):
        yield Case(f"{name} million requests with --lengths",
                   kvcalc(*estimate, "--lengths", partial(requests, folder / f"{name}.csv", number),
                          "--format", "csv"), aim, 3 if name == "a" else 1, long=name == "ten")  # fmt: skip
    grid = ("compare", "gemma-3-27b", "--context", "100:100000:100", "--batch", "1:100:1")
    yield Case("compare of 100,000 points, csv", kvcalc(*grid, "--format", "csv"), "25")
    yield Case("compare of 100,000 points, json", kvcalc(*grid, "--format", "json"), "60, 60 MiB")
    yield Case("headers of 163 files, 90,427 tensors",
               kvcalc("estimate", lambda: checkpoint(folder / "v3"), "--format", "json"),
               "45, 60 MiB")  # fmt: skip
    yield Case("fit of a model of 1,000 different layers",
               kvcalc("fit", lambda: many_layers(folder / "layers.yaml"), "--gpu", "h100-80gb"),
               "60")  # fmt: skip
    wide = partial(many_layers, folder / "wide.yaml", hidden_size=4096)
    yield Case("the same, which fits nowhere",
               kvcalc("fit", wide, "--gpu", "h100-80gb", "--batch", 32, "--context", "128k"),
               "60", long=True)  # fmt: skip


def main() -> None:
    """Print one line per row: what was run, the build before, today, and the aim."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    with tempfile.TemporaryDirectory() as name, before(Path(name)) as old:
        folder = Path(name)
        trees = {"today": environment(ROOT, folder / "bytecode")}
        if old is not None:
            trees["before"] = environment(old, folder / "bytecode")
        print(f"{'CPU time / python -c pass, peak memory':<44} {BEFORE:>12}{'today':>17}      aim")
        for case in cases(folder):
            asked = not words or any(word in case.name for word in words)
            if asked and (not case.long or "--long" in sys.argv):
                print(compare(case, trees), flush=True)
        page = folder / "page.html"
        if page.exists() and shutil.which("node"):
            usual, worst = page_milliseconds(page)
            print(
                f"its page, a keystroke: {usual:.1f} ms, {worst:.1f} ms at worst, without drawing"
            )


if __name__ == "__main__":
    main()
