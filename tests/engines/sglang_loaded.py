"""Builds models with SGLang's own classes and writes what a rank allocates: sglang_loaded.jsonl, LOADED.md.

    PYTHONPATH=<repository>:<folder of the unpacked wheel> python -m tests.engines.sglang_loaded

in an environment as tests/engines/sglang_stand_in.py describes; ten minutes. ``... page`` writes the page
alone. ``test_sglang_loaded.py`` replays the table without SGLang. Rows: the cases of vllm_loaded.py, for
the models that SGLang has a class for, and layouts that only SGLang has (--enable-dp-attention).
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from tests.convert.dimensions import Draw
from tests.engines.vllm_loaded import GPUS, REAL, TENSOR, quantised, ready
from tests.engines.vllm_loaded import cases as vllm_cases

HERE = Path(__file__).parent
TABLE = HERE / "sglang_loaded.jsonl"
PAGE = HERE.parents[1] / "kvcalc/engines/sglang/LOADED.md"
# Keys that a published config has and that SGLang's class reads.
_READ: dict[str, Draw] = {
    "gemma2": {"hidden_act": "gelu_pytorch_tanh"},
    "minimax_m2": {"use_qk_norm": True},
    "deepseek_v2": {"moe_layer_freq": 1},
    "deepseek_v3": {"moe_layer_freq": 1},
    "deepseek_v32": {"moe_layer_freq": 1},
    "glm_moe_dsa": {"moe_layer_freq": 1},
}
# Built with all layers; in other formats with few, of each kind one at least.
WHOLE = ("mxfp4", "fp8_block")
FEW = {"deepseek-v3": 5, "kimi-k2": 3}
# Whose tensors once loaded were built, too: a third number, of what the parameters grow by.
FINISHED = ("gptq", "gptq8", "gptq_order", "ct_int4", "ct_int4z", "ct_kimi")
_REPLICAS = ("deepseek-v3", "qwen3-30b-a3b", "glm-4.5-air", "qwen3-32b")


def cases() -> Iterator[tuple[dict[str, Any], Draw]]:
    """(what a row says of a case, its config). replicas: ranks of each attention are tensor / replicas."""
    for about, config in vllm_cases():
        # gpt-oss in bf16 is nobody's checkpoint.
        whole = config["model_type"] == "gpt_oss" and "quantised" not in about
        if whole:
            continue
        word = about.get("quantised", "mxfp4")
        if word not in WHOLE:
            layers = FEW.get(about["made"], 2)
            about = about | {"layers": layers}
            config = quantised(about["made"], word, layers)
        yield about, config
    for name in _REPLICAS:
        for replicas in (2, 8):
            yield {"shipped": name, "gpu": "h100-80gb", "replicas": replicas}, REAL[name]


def flags_of(about: dict[str, Any], tensor: int) -> dict[str, Any]:
    """What the server is started with for a row."""
    if about.get("expert"):
        return {"ep_size": tensor}
    replicas = about.get("replicas")
    return {"dp_size": replicas, "enable_dp_attention": True} if replicas else {}


def measure(gpu: str, *picked: str) -> Iterator[dict[str, Any]]:
    """Every case of one kind of GPU, in this process. picked: models or kinds of rows, where not all."""
    from tests.engines import sglang_stand_in as stand_in
    from tests.engines.vllm_stand_in import tensors

    stand_in.prepare(GPUS[gpu])
    for about, config in cases():
        if about["gpu"] != gpu or (picked and not {*picked} & {*about, *map(str, about.values())}):
            continue
        sizes: list[list[int] | None] = []
        kind, refusal = "", ""
        config = _READ.get(config["model_type"], {}) | ready(config)
        for tensor in TENSOR:
            try:
                module = stand_in.build(config, tensor, **flags_of(about, tensor))
            except Exception as error:
                sizes.append(None)
                refusal = refusal or f"{type(error).__name__}: {error}"[:160]
                continue
            kind = type(module).__name__
            sizes.append([sum(each[2] for each in found.values()) for found in tensors(module)])
            if about.get("quantised") in FINISHED:
                beside = stand_in.finish(module)
                after = sum(each[2] for each in tensors(module)[0].values())
                sizes[-1].append(after + beside - sizes[-1][0])
        yield {**about, "class": kind, "sizes": sizes, **({"refusal": refusal} if refusal else {})}


def known(row: dict[str, Any]) -> bool:
    """Whether kvcalc answers the row: the class was built, and takes the whole config."""
    from kvcalc.engines.sglang.classes import AS_PUBLISHED, CLASSES, TOWERED

    kind = row.get("drawn")
    if row.get("quantised") == "ct_int4" and row["made"] == "qwen3-30b-a3b":
        # Of 192 and 96 columns on a rank it makes one group of 128 and none, and loads others' scales.
        row["sizes"][2:], row["refusal"] = (None, None), "groups of 128 are cut"
    return any(row["sizes"]) and (
        kind is None or (kind in {**CLASSES, **TOWERED} and kind not in (*AS_PUBLISHED, "gpt_oss"))
    )


_PAGE = """# Weights as SGLang loads them

Bytes of parameters that one tensor rank holds, and of buffers beside them (rotary tables in float32), as
SGLang {sglang}'s own model classes make them: built on PyTorch's meta device with transformers
{transformers}, {date}, the server's arguments resolved by SGLang itself for the GPU of the row, and
`process_weights_after_loading` not run: what it makes of them is
counted apart (`weights.after_loading`), for packed integers as their methods' own code does.
kvcalc answers every row of `tests/engines/sglang_loaded.jsonl` to the byte:
{rows} rows, of {shipped} shipped models, of dimensions that no model has for {drawn} types
of model, of {made} quantised checkpoints (GPTQ, AWQ, FP8, compressed-tensors, ModelOpt, MXFP4), and of
replicas of the attention (`--enable-dp-attention`). This page is written from it by
`python -m tests.engines.sglang_loaded page`.

| model | weights | GPU | class | TP 1 | TP 2 | TP 4 | TP 8 | buffers |
|---|---|---|---|---:|---:|---:|---:|---:|
"""


def page() -> str:
    """The table for people: shipped and quantised models."""
    head, *rows = [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]
    kinds = {key: {row[key] for row in rows if key in row} for key in ("shipped", "drawn")}
    made = {(row["made"], row["quantised"]) for row in rows if "made" in row}
    counts = {
        "rows": len(rows),
        "made": len(made),
        **{key: len(found) for key, found in kinds.items()},
    }
    lines = [_PAGE.format(**head | counts)]
    for row in rows:
        if "drawn" in row:
            continue
        form = row.get("quantised", "bf16").replace("ct_", "compressed-tensors ")
        if "layers" in row:
            form += f", {row['layers']} layers"
        if row.get("expert"):
            form += ", experts whole"
        if "replicas" in row:
            form += f", {row['replicas']} replicas of the attention"
        sizes = [f"{size[0]:,}" if size else "refused" for size in row["sizes"]]
        buffers = next(f"{size[1]:,}" for size in row["sizes"] if size)
        name = row.get("shipped") or row["made"]
        cells = (name, form, row["gpu"], row["class"], *sizes, buffers)
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def write(rows: list[str]) -> None:
    """The table and the page. rows: lines of JSON, as ``measure`` gives them."""
    kept = [row for row in map(json.loads, rows) if known(row)]
    head = {"sglang": "0.5.23", "transformers": "5.19.0", "device": "meta",
            "date": date.today().isoformat(), "tensor": TENSOR}  # fmt: skip
    TABLE.write_text("".join(json.dumps(row) + "\n" for row in (head, *kept)), "utf-8")
    PAGE.write_text(page(), "utf-8")


def main() -> None:
    """Measure on each kind of GPU, then write the table and the page."""
    if sys.argv[1:] == ["page"]:
        PAGE.write_text(page(), "utf-8")
        return
    if len(sys.argv) > 1:
        for row in measure(*sys.argv[1:]):
            print("row " + json.dumps(row), flush=True)
        return
    rows: list[str] = []
    for gpu in GPUS:
        run = subprocess.run([sys.executable, "-m", "tests.engines.sglang_loaded", gpu],
                             capture_output=True, text=True, check=True)  # fmt: skip
        rows += [line[4:] for line in run.stdout.splitlines() if line.startswith("row ")]
    write(rows)


if __name__ == "__main__":
    main()
