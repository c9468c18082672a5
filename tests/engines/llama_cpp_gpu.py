"""Replays public loads of llama.cpp on GPUs; writes kvcalc/engines/llama_cpp/ACCURACY.md.

    python -m tests.engines.llama_cpp_gpu

``llama_cpp_gpu.jsonl``: one load a line: where it was printed, the model and the flags, every buffer in
MiB. dtype is null where the file is no stock mixture: then its weights are not compared. file: GiB, as
the loader prints it; null: a line that the thread does not show. thread: a public thread in which a user
pasted the lines; its flags are empty where only the file's lines were pasted.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvcalc.engines.llama_cpp.file import model_file
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.memory import Loaded, Machine, Table, Unnamed, load
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.spec.catalog import load as spec_of

FACTS = Path(__file__).with_name("llama_cpp_gpu.jsonl")
PAGE = Path("kvcalc/engines/llama_cpp/ACCURACY.md")
# Since pull request 23861 only the logits that are asked for have room.
LIMITED = "2026-05-29"
# What a row's flags say of the row itself: a reason, or what the thread does not show.
WORDS = ("why", "own", "output_why", "mixture", "assumed")


@dataclass(frozen=True)
class Check:
    """One printed figure, MiB. least, most: kvcalc's; equal where it is one figure, most None where it
    is not predicted."""

    quantity: str
    printed: float
    least: int
    most: int | None
    reason: str = ""
    unit: int = 1 << 20

    @property
    def verdict(self) -> str:
        if self.most is None:
            return "not predicted"
        if self.least == self.most and _in(self.unit, self.least) == f"{self.printed:.2f}":
            return "to the digit"
        low, high = (Fraction(end, self.unit) for end in (self.least, self.most))
        printed = Fraction(str(self.printed))
        if self.reason and not self.quantity.startswith("compute"):
            return "explained"
        if low * Fraction(95, 100) <= printed <= high * Fraction(105, 100):
            return "within 5 %" if self.least == self.most else "in the band"
        return "explained" if self.reason else "off"


def _in(unit: int, num_bytes: int) -> str:
    return f"{float(Fraction(num_bytes, unit)):.2f}"


def facts() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FACTS.read_text("utf-8").splitlines()]


def checks(row: dict[str, Any]) -> Iterator[Check]:
    """Every printed figure of a load beside kvcalc's."""
    said, printed = row["flags"], row["printed"]
    spec = spec_of(row["model"])
    if "file" in printed:
        size = model_file(spec, row["dtype"]).bytes
        yield Check("file", printed["file"], size, size, said.get("mixture", ""), 1 << 30)
    if "ctx" not in said:
        return
    flags = LlamaCppFlags(
        ctx_size=said["ctx"], parallel=said["seqs"], ubatch=said["ubatch"],
        kv_unified=said["unified"] or None, cache_type_k=said.get("k"), cache_type_v=said.get("v"),
        speculative_tokens=said.get("rs"), flash_attn="on" if said["flash"] else "off",
        n_gpu_layers=str(said["ngl"]) if "ngl" in said else None,
        cpu_moe=said.get("cpu_moe"), swa_full=said.get("swa_full"),
    )  # fmt: skip
    caches = [cache for cache in capacity(spec, flags).caches if cache.bytes]
    held = [cache for cache in caches if cache.type != "recurrent"]
    lines = printed.get("kv", [])
    sizes = [cache.bytes for cache in held]
    if len(lines) == 1 and len(sizes) > 1:
        sizes = [sum(sizes)]  # one cache for all layers, in builds of before
    for line, size in zip(lines, sizes, strict=False):
        if line is not None:
            yield Check("cache", line, size, size, said.get("why", ""))
    if "rs" in printed:
        states = sum(cache.bytes for cache in caches if cache.type == "recurrent")
        yield Check("states", printed["rs"], states, states)
    loaded = load(spec, row["dtype"] or "q8_0", flags)
    count = said.get("devices", len(printed.get("compute", ())) or 1)
    vendor = "NVIDIA" if row["backend"] in ("CUDA", "ROCm") else ""
    machine = Machine(devices=tuple(Unnamed(f"device {i}", vendor) for i in range(count)))
    table = loaded.table(machine, flags.placing())
    host = table.uses[-1]
    if row["dtype"]:
        yield from _weights(printed, table, said.get("mixture", ""))
    for number, line in enumerate(printed.get("kv_devices", ())):
        size = table.uses[number].cache_bytes
        yield Check(f"cache, device {number}", line, size, size)
    if "output" in printed:
        why = said.get("output_why", "")
        yield Check("output", printed["output"], host.output_bytes, host.output_bytes, why)
    if not said.get("ot"):
        cells = sum(cache.cells or 0 for cache in held) if said["flash"] else 0
        yield from _compute(row, loaded, table.uses, cells)


def _weights(printed: dict[str, Any], table: Table, why: str) -> Iterator[Check]:
    for number, line in enumerate(printed.get("model", ())):
        size = table.uses[number].model_bytes
        yield Check(f"model, device {number}", line, size, size, why)
    if "model_sum" in printed:  # the split between the devices is of their free memory, not printed
        size = sum(use.model_bytes for use in table.uses[:-1])
        yield Check("model, all devices", printed["model_sum"], size, size)
    if "cpu" in printed:
        size = table.uses[-1].model_bytes
        yield Check("model, host", printed["cpu"], size, size, why)


def _compute(row: dict[str, Any], loaded: Loaded, uses: Any, cells: int) -> Iterator[Check]:
    """cells: those that flash attention's masks are as wide as, of all caches together."""
    printed, said = row["printed"], row["flags"]
    every = row["date"] < LIMITED or said.get("own") == "ik"
    logits = 4 * said["ubatch"] * (loaded.spec.vocab_size + loaded.spec.hidden_size)
    # Pull request 23764: the device had the masks in f32 while it made the copy in f16 that it keeps.
    mask = 2 * said["ubatch"] * cells
    for number, line in enumerate(printed.get("compute", ())):
        band = uses[number].compute
        least, most = band.least, band.most
        reason = ""
        if most is not None and every:
            # Builds of before reserve every token's logits, at the last device with the output.
            last = number == len(printed["compute"]) - 1
            needs = {
                "a build that reserves the logits of every token": logits if last else 0,
                "masks in f32, and a copy in f16, before pull request 23764": 3 * mask,
            }
            rest = most - mask
            least = max(least, *needs.values())
            most = max(most, logits if last else 0, 3 * mask + rest if mask else 0)
            reason = said.get("why") or max(needs, key=lambda why: needs[why])
        elif most is not None:
            # One output's logits; the table prints the rest.
            reason = f"the figures are of v0.5.0, the load of {row['build'] or row['date']}"
        if most is not None and most - least <= 4 * loaded.spec.vocab_size * said["seqs"]:
            most = least
        yield Check(f"compute, device {number}", line, least, most, reason)
    if "host" in printed:
        band = uses[-1].compute
        reason = "masks in f32 before pull request 23764" if row["date"] < LIMITED else ""
        yield Check("compute, host", printed["host"], band.least, band.most, reason)


def page() -> str:
    """The page: totals by quantity, then every figure that is not equal to the digit."""
    totals: dict[str, Counter[str]] = {}
    rest, pasted = [], []
    for row in facts():
        for check in checks(row):
            if row.get("thread"):
                pasted.append((row, check))
            kind = check.quantity.split(",")[0].split(" (")[0]
            totals.setdefault(kind, Counter())[check.verdict] += 1
            if check.verdict != "to the digit":
                rest.append((row, check))
    words = ["to the digit", "within 5 %", "in the band", "explained", "not predicted", "off"]
    lines = [
        "# llama.cpp on GPUs: what loads printed, and what kvcalc says", "",
        f"{len(facts())} public loads (tests/engines/llama_cpp_gpu.jsonl), replayed by",
        "`python -m tests.engines.llama_cpp_gpu`. Compute buffers are those of llama.cpp v0.5.0: loads",
        "of builds before it that differ are marked as explained, with the reason.", "",
        "| figure | " + " | ".join(words) + " |", "|---|" + "---|" * len(words),
        *(f"| {kind} | " + " | ".join(str(found[word]) for word in words) + " |"
          for kind, found in totals.items()), "",
        "## What is not equal to the digit", "",
        "| model | backend, build | flags | figure | printed, MiB | kvcalc, MiB | |",
        "|---" * 7 + "|",
        *(_line(row, check) for row, check in rest), "",
        "## Public threads: every figure that a user pasted", "",
        "| thread | model | flags | figure | printed | kvcalc | |",
        "|---" * 7 + "|",
        *(_pasted(row, check) for row, check in pasted), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _ours(check: Check) -> str:
    if check.most is None:
        return "-"
    least, most = (_in(check.unit, end) for end in (check.least, check.most))
    return least if check.least == check.most else f"{least} to {most}"


def _flags(row: dict[str, Any]) -> str:
    return " ".join(
        f"{name} {value}"
        for name, value in row["flags"].items()
        if value not in (False, None) and name not in WORDS
    )


def _said(check: Check) -> str:
    return check.verdict + (f": {check.reason}" if check.verdict == "explained" else "")


def _line(row: dict[str, Any], check: Check) -> str:
    build = f"{row['backend']}, {row['build'] or row['date']}"
    return (f"| {row['model']} {row['dtype'] or ''} | {build} | {_flags(row)} | "
            f"{check.quantity} | {check.printed} | {_ours(check)} | {_said(check)} |")  # fmt: skip


def _pasted(row: dict[str, Any], check: Check) -> str:
    unit = "GiB" if check.unit == 1 << 30 else "MiB"
    assumed = row["flags"].get("assumed", "")
    return (f"| {row['source']} | {row['model']} {row['dtype'] or ''} | {_flags(row)} | "
            f"{check.quantity} | {check.printed:.2f} {unit} | {_ours(check)} | "
            f"{_said(check)}{f' (assumed: {assumed})' if assumed else ''} |")  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(page())
