"""Writes kvcalc/engines/ACCURACY.md from the rows that the tests replay.

Run it from the repository: python -m tests.engines.accuracy
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
PAGE = ROOT / "kvcalc" / "engines" / "ACCURACY.md"
# The log tests are modules of their own to pytest.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import test_llama_cpp_logs as llama_cpp  # noqa: E402
import test_sglang_logs as sglang  # noqa: E402
import test_tensorrt_llm_logs as trt  # noqa: E402
import test_vllm_logs as vllm  # noqa: E402

from kvcalc.engines.request import Available  # noqa: E402
from kvcalc.engines.vllm.flags import VllmFlags  # noqa: E402
from kvcalc.engines.vllm.pool import capacity as vllm_capacity  # noqa: E402
from kvcalc.logs.read import answer_of  # noqa: E402
from kvcalc.memory.layout import Layout  # noqa: E402
from kvcalc.spec.catalog import load  # noqa: E402
from tests.engines.measured import modules  # noqa: E402
from tests.logs import observe  # noqa: E402
from tests.logs import test_loading as loading  # noqa: E402

_HEAD = """\
# Predicted and logged

Every figure below was printed by a serving engine and posted in public; `kvcalc capacity`, asked with
that log's model, flags and memory, answers with the figure beside it. The tests replay these rows on
every change (`tests/engines/test_*_logs.py`, `tests/logs`), and this page is written from them by
`python -m tests.engines.accuracy`. No rule and no constant is fitted to a log. An input that a log does
not show stands under *assumed*: such a row confirms the rule only for that input, and where the input
was worked out from the log itself it says so. Logs without a link were read in pastes.

* **exact**: the same figure, from inputs that leave one answer;
* **in range**: the log rounds its memory to two decimals, and the figure is one of those that a memory
  printed so can give; the range is stated;
* **consistent**: the log gives no memory; its figures agree with each other for a whole number of blocks.

Beside the logs, engines' own code answered for random models, and kvcalc is held to those answers:
vLLM's and SGLang's functions on stacks of layers, release by release
(`tests/engines/test_vllm_computed.py`, `test_sglang_computed.py`), and the lines that llama.cpp's
library prints for GGUF metadata that its own conversion made of a config
(`test_llama_cpp_computed.py`). TensorRT-LLM's rules were read, not run.

*Weights as loaded* are what vLLM's own classes allocate (`kvcalc/engines/vllm/LOADED.md`): at the lower end
without tables, at the upper with the blocks of torch's allocator (`kvcalc/logs/held/loading.py`).
Activations and graphs are not on this page.
"""
_COLUMNS = ("log", "model", "asked", "figure", "logged", "kvcalc", "verdict", "assumed")
Row = tuple[str, ...]


def render() -> str:
    """The whole page."""
    parts = [_HEAD]
    engines = (
        ("vLLM", vllm, _with_pasted("vllm", [*_vllm(), *_startups(), *_loaded()])),
        ("SGLang", sglang, _with_pasted("sglang", list(_sglang()))),
        ("TensorRT-LLM", trt, _with_pasted("tensorrt-llm", list(_trt()))),
        ("llama.cpp", llama_cpp, _with_pasted("llama.cpp", list(_llama_cpp()))),
    )
    summary = ["| engine | figures | exact | in range | consistent | with an assumed input |",
               "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name, _, rows in engines:
        counts = [
            sum(row[6] == word for row in rows) for word in ("exact", "in range", "consistent")
        ]
        assumed = sum(bool(row[7]) for row in rows)
        summary.append(f"| {name} | {len(rows)} | {' | '.join(map(str, counts))} | {assumed} |")
    parts.append("\n".join(summary) + "\n")
    for name, module, rows in engines:
        lines = [
            f"## {name}",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            "|---|---|---|---|---:|---:|---|---|",
        ]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        notes, misses = _single(module)
        if notes:
            lines += ["", "Replayed by a test of their own:", "", *notes]
        if misses:
            lines += ["", "### Not reproduced, and why", "", *misses]
        parts.append("\n".join(lines) + "\n")
    return "\n".join((*parts, *(module.section() for module in modules().values())))


def _log(log: Any) -> str:
    return f"[{log.id}]({log.url})" if log.url.startswith("http") and " " not in log.url else log.id


def _asked(flags: dict[str, Any], available: str | None = None) -> str:
    words = [available] if available else []
    for name, value in flags.items():
        if isinstance(value, Layout):
            ranks = {"tensor": value.tensor, "pipeline": value.pipeline}
            words += [f"{kind}-parallel {count}" for kind, count in ranks.items() if count > 1]
            continue
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        option = name.replace("_", "-")
        words.append(option if value is True else f"{option} {shown}")
    return ", ".join(words) or "defaults"


def _row(log: Any, figure: str, logged: str, found: list[str], known: bool = True) -> Row:
    """found: what kvcalc may answer, in ascending order; one where the inputs leave one."""
    if logged not in found:
        word = "MISS"
    elif not known:
        word, found = "consistent", [logged]
    else:
        word = "exact" if len(set(found)) == 1 else "in range"
    shown = found[0] if len(set(found)) == 1 else f"{found[0]} to {found[-1]}"
    asked = _asked(log.flags, getattr(log, "available", None))
    return (_log(log), log.model, asked, figure, logged, shown, word, log.assumed)


def _vllm() -> Iterator[Row]:
    for log in vllm.LOGS:
        memory = Available.parse(log.available or "400GiB")
        result = vllm.run(log, memory)
        known = log.available is not None
        if log.tokens is not None or log.blocks is not None or log.concurrency is not None:
            numbers = vllm._candidates(log, result)
            step = max(1, len(numbers) // 400)
            chosen = sorted({*numbers[::step], numbers[-1]})
            if log.tokens is not None and step > 1:
                chosen = list(numbers)
            pools = [vllm._with_blocks(log, result, number) for number in chosen]
            if log.tokens is not None:
                found = [f"{pool.tokens:,}" for pool in pools]
                yield _row(log, "tokens", f"{log.tokens:,}", found, known)
            if log.blocks is not None:
                found = [f"{pool.num_blocks:,}" for pool in pools]
                yield _row(log, "blocks", f"{log.blocks:,}", found, known)
            if log.concurrency is not None:
                exact = [pool for pool in pools if log.tokens in (None, pool.tokens)
                         and log.blocks in (None, pool.num_blocks)]  # fmt: skip
                found = [f"{float(pool.max_concurrency or 0):.2f}" for pool in exact]
                of = "tokens" if log.tokens is not None else "blocks"
                yield _row(log, f"concurrency, of these {of}", log.concurrency, found, known)
        if log.cpu_blocks is not None:
            blocks = (4 << 30) // (result.pool.bytes_per_block or 1)
            yield _row(log, "CPU blocks of 4 GiB", f"{log.cpu_blocks:,}", [f"{blocks:,}"])
        if log.needed_gib is not None:
            need = str(round((result.pool.bytes_per_request or 0) / (1 << 30), 2))
            yield _row(log, "needed for one request, GiB", log.needed_gib, [need])
        if log.estimate is not None:
            found = [f"{one:,}" for one in sorted(vllm._estimates(log, memory, result))]
            yield _row(log, "estimated longest request", f"{log.estimate:,}", found, known)
        if log.block is not None:
            yield _row(log, "tokens of a block", str(log.block), [str(result.pool.block_tokens)])
        if log.padding_layers is not None:
            padding = sum(group.padding_layers for group in result.groups)
            yield _row(log, "padding layers", str(log.padding_layers), [str(padding)])


# How a row calls a figure of ``kvcalc log``, with the bytes of its unit.
_FIGURES = {
    "tokens": ("tokens", 1), "num_blocks": ("blocks", 1), "max_concurrency": ("concurrency", 1),
    "cpu_blocks": ("CPU blocks of 4 GiB", 1), "bytes_per_request": ("needed for one request, GiB", 1 << 30),
    "estimated_max_model_len": ("estimated longest request", 1), "bytes_per_token": ("bytes of a token", 1),
}  # fmt: skip
# Logs that print bytes to the last one.
_EXACT = ("trtllm-1400.txt", "nim-deploy-24.txt")
_TOLD = ("max_model_len", "tensor_parallel_size", "kv_cache_dtype", "tp_size", "ctx_size", "parallel",
         "max_num_batched_tokens", "num_speculative_tokens", "cache_type_k", "ubatch_size")  # fmt: skip


def _with_pasted(engine: str, rows: list[Row]) -> list[Row]:
    """With the figures of the logs that ``kvcalc log`` replays as they were pasted, each once."""
    seen = {(row[1], row[4]) for row in rows}
    for pasted in observe.rows():
        if pasted["engine"] != engine:
            continue
        answer = observe.answered(pasted)
        for each in answer.observations:
            row = _pasted_row(pasted, answer, each)
            if row is not None and (row[1], row[4]) not in seen:
                rows.append(row)
    return rows


def _pasted_row(pasted: dict[str, Any], answer: Any, each: Any) -> Row | None:
    given = each.quantity == "tokens" and pasted["engine"] == "sglang"
    given = given or (
        each.quantity == "tokens" and "no memory" in each.reason and answer.engine != "vllm"
    )
    if each.agrees is None or each.quantity == "available_bytes" or each.logged == 0 or given:
        return None
    if "does not show" in each.reason:
        return None
    unit = 1 << 20 if pasted["engine"] == "llama.cpp" else 1 << 30
    words = {"loaded_bytes": "weights as loaded", "file_bytes": "tensors of the file"}
    default = (
        f"{words.get(each.quantity, each.quantity.removesuffix('_bytes'))}, "
        f"{'MiB' if unit == 1 << 20 else 'GiB'}",
        unit,
    )
    figure, size = _FIGURES.get(each.quantity, default)
    if each.quantity == "bytes" and pasted["file"] in _EXACT:
        figure, size = "bytes", 1

    def shown(value: Any) -> str:
        whole = size == 1 and each.quantity != "max_concurrency"
        return f"{int(value):,}" if whole else f"{float(value) / size:.2f}"

    logged, found = shown(each.logged), [shown(end) for end in (each.least, each.most)]
    word = "exact" if each.least == each.most else "in range"
    if "no memory" in each.reason:
        word = "consistent"
    if not each.agrees:
        word = "MISS"
    span = found[0] if found[0] == found[1] else f"{found[0]} to {found[1]}"
    flags = ", ".join(f"{name} {value}" for name, value in answer.flags.items() if name in _TOLD)
    url, name = pasted["source"], pasted["file"].removesuffix(".txt")
    assumed = [said.split(":")[0] for said in answer.assumed]
    assumed += ["model"] if pasted.get("model") else []
    link = f"[{name}]({url})" if url.startswith("http") else name
    what = f"{figure}, {each.of}" if each.of else figure
    return (link, answer.model, flags or "defaults", what, logged, span, word, ", ".join(assumed))


def _startups() -> Iterator[Row]:
    """llm-d-planner's startups of 0.19.0; a pool that several of them have stands once."""
    seen: set[tuple[Any, ...]] = set()
    for model, more, memory, tokens, blocks, concurrency in vllm.STARTUPS:
        flags = {"engine_version": "0.19.0", "max_model_len": 8192,
                 "max_num_batched_tokens": 8192, **more}  # fmt: skip
        log = vllm.Log(id="llm-d-planner", model=model, flags=flags, available=memory,
                       url="https://github.com/llm-d-incubation/llm-d-planner")  # fmt: skip
        spec = load(model)
        result = vllm_capacity(spec, VllmFlags(available=Available.parse(memory), **flags))
        least, most = result.pool_range or (result.pool, result.pool)
        numbers = range(least.num_blocks or 0, (most.num_blocks or 0) + 1)
        exact = Available.exactly(blocks * (result.pool.bytes_per_block or 0))
        pool = vllm_capacity(spec, VllmFlags(available=exact, **flags)).pool
        known = (model, memory, more.get("layout"), more.get("kv_dtype"), blocks)
        if known not in seen:
            yield _row(log, "blocks", f"{blocks:,}", [f"{number:,}" for number in numbers])
            yield _row(log, "tokens, of these blocks", f"{tokens:,}", [f"{pool.tokens:,}"])
        seen.add(known)
        found = f"{float(pool.max_concurrency or Fraction(0)):.2f}"
        yield _row(log, "concurrency, of these blocks", concurrency, [found])


def _loaded() -> Iterator[Row]:
    """Weights of the same startups, as loaded."""
    for row in loading.ROWS:
        _, ranks, stages, dtype, method, logged, least, _, most, agrees = row
        if agrees is None:
            continue
        answer = answer_of([loading.log(row)], gpu="h100")
        flags = ", ".join((f"TP {ranks}", f"PP {stages}", dtype, f"quantization {method}"))
        span = f"{least / (1 << 30):.2f} to {most / (1 << 30):.2f}"
        by_name = "format" if method not in ("None", "fp8") else ""
        yield ("[llm-d-planner](https://github.com/llm-d-incubation/llm-d-planner)", answer.model, flags,
               "weights as loaded, GiB", logged, span, "in range", by_name)  # fmt: skip


def _sglang() -> Iterator[Row]:
    for log in (*sglang.LOGS, *sglang.ASSUMED):
        caches = {cache.name: cache for cache in sglang.run(log.model, **log.flags).caches}
        for name, printed in log.sizes.items():
            parts = (
                [caches[one] for one in ("full", "index keys")] if "+" in name else [caches[name]]
            )
            if len(printed) == 1:
                values, letters = (sum(part.bytes for part in parts),), ("KV",)
            elif parts[0].type == "recurrent":
                values, letters = (parts[0].r_bytes, parts[0].s_bytes), ("conv", "temporal")
            else:
                values, letters = (parts[0].k_bytes, parts[0].v_bytes), ("K", "V")
            for letter, logged, value in zip(letters, printed, values, strict=True):
                if logged:
                    yield _row(log, f"{name}: {letter}, GB (2^30)", logged, [sglang.gb(value)])


def _trt() -> Iterator[Row]:
    for log in trt.LOGS:
        result = trt.run(log)
        least, most = result.pool_range or (result.pool, result.pool)
        if log.tokens is not None:
            step = result.pool.block_tokens or 1
            numbers = range(least.tokens or 0, (most.tokens or 0) + 1, step)
            yield _row(log, "tokens", f"{log.tokens:,}", [f"{number:,}" for number in numbers])
        if log.blocks is not None:
            numbers = range(least.num_blocks or 0, (most.num_blocks or 0) + 1)
            yield _row(log, "blocks", f"{log.blocks:,}", [f"{number:,}" for number in numbers])
        if log.num_bytes is not None:
            yield _row(log, "bytes", f"{log.num_bytes:,}", [f"{result.pool.bytes:,}"])
        if log.gib is not None:
            yield _row(log, "GiB", log.gib, [trt.gib(result.pool.bytes)])


def _llama_cpp() -> Iterator[Row]:
    inferred = "worked out from the log's own cells"
    marked = [replace(log, assumed=f"{log.assumed}, {inferred}") for log in llama_cpp.INFERRED]
    for log in (*llama_cpp.LOGS, *marked):
        caches = llama_cpp.run(log)
        for cells, streams, layers, total, first, second in log.caches:
            same = [cache for cache in caches
                    if (cache.cells, cache.streams, cache.layers) == (cells, streams, layers)]  # fmt: skip
            # Two caches of equal cells and layers are told apart by their sizes.
            cache = next((one for one in same if llama_cpp.mib(one.bytes) == total), same[0])
            recurrent = cache.type == "recurrent"
            sizes = (cache.r_bytes, cache.s_bytes) if recurrent else (cache.k_bytes, cache.v_bytes)
            what = (
                f"{cache.name}, {cells:,} {'sequences' if recurrent else 'cells'}, {layers} layers"
            )
            letters = "RS" if recurrent else "KV"
            yield _row(log, f"{what}: MiB", total, [str(llama_cpp.mib(cache.bytes))])
            for letter, logged, size in zip(letters, (first, second), sizes, strict=True):
                if logged is not None and size is not None:
                    yield _row(log, f"its {letter}", logged, [str(llama_cpp.mib(size))])


def _single(module: ModuleType) -> tuple[list[str], list[str]]:
    """What a module's numbered tests and its own docstring say of further logs: (notes, misses)."""
    notes, misses = [], []
    for name, test in vars(module).items():
        found = re.match(r"test_(\d{3})_", name)
        text = getattr(test, "__doc__", None)
        if found is None:
            continue
        words = " ".join((text or name[9:].replace("_", " ")).split())
        words = re.sub(r"(https?://\S+?)(?=[.,;)]?(\s|$))", r"<\1>", words)
        line = f"* {found[1]}: {words.removeprefix('A miss: ')}"
        (misses if words.startswith("A miss:") else notes).append(line)
    _, mark, rest = (module.__doc__ or "").partition("Not reproduced, and why:\n\n")
    entries: list[str] = []
    for line in rest.splitlines() if mark else []:
        if line.startswith(" "):
            entries[-1] += " " + line.strip()
        elif line.strip():
            what, _, why = line.partition("  ")
            entries.append(f"* **{what}** {why.strip()}")
    links = [re.sub(r"(https?://\S+?)(?=[.,;)]?(\s|$))", r"<\1>", entry) for entry in entries]
    return notes, [*links, *misses]


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
