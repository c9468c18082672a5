"""The page of model types with the evidence for each: ``python -m tests.convert.evidence``."""

from pathlib import Path

from kvcalc.convert.model_types import (
    CONVERTERS,
    OUTSIDE,
    REMOTE,
    REMOTE_PARTS,
    REMOTE_TEXT,
    SINCE,
    TEXT_CONFIGS,
)
from kvcalc.convert.towers import READERS
from tests.convert.draws import draw

FILE = Path(__file__).resolve().parent.parent.parent / "kvcalc" / "convert" / "MODEL_TYPES.md"


def text(not_run: dict[str, str], unbuildable: dict[str, str], num_draws: int) -> str:
    """The page. not_run, unbuildable: the tests' own lists of what they leave out, and why."""
    from kvcalc.convert.config import class_defaults
    from kvcalc.convert.hf import spec_from_config

    lines = [
        "# Model types",
        "",
        "What `kvcalc estimate config.json` and `kvcalc import` read, and the evidence that it is exact.",
        f"Parameters: {num_draws} configs of random dimensions per type import to the total of the model",
        "that transformers 5.23.0 builds on the meta device (`tests/convert/test_parameters.py`).",
        "Cache: two such configs run on the CPU, every tensor of the returned cache added up, equal to the",
        "byte under `--engine transformers` (`tests/convert/test_caches.py`). What transformers built and",
        "kept stands in `tests/convert/measured.json`; `python -m tests.convert.measured` measures it.",
        "",
        "| model type | read by `kvcalc/convert/families/` | parameters | cache |",
        "|---|---|---|---|",
    ]
    for name in sorted(CONVERTERS):
        release = f" (transformers {SINCE[name]})" if name in SINCE else ""
        file, function = CONVERTERS[name].split(".")
        config = draw(name, 0, class_defaults()[name]["defaults"])
        keeps = spec_from_config(config, "drawn", "draws.py").spec.head != "none"
        cache = not_run.get(name, "exact" if keeps else "keeps none")
        lines.append(f"| {name} | `{file}.py`, `{function}` | exact{release} | {cache} |")
    lines += [
        "",
        "Multimodal types: the language model is imported; its towers where a reader of them is named",
        "(`kvcalc/convert/towers/`, held to random dimensions tensor by tensor in",
        "`tests/convert/towers_measured.json`), and left out by name where none is.",
        "",
        "| model type | language model | towers | evidence of the language model |",
        "|---|---|---|---|",
    ]
    for name in sorted(TEXT_CONFIGS):
        why = unbuildable.get(name)
        proof = f"through its language model's type only ({why})" if why else "exact"
        towers = READERS.get(name, "named, not counted")
        lines.append(f"| {name} | {TEXT_CONFIGS[name][1]} | {towers} | {proof} |")
    lines += ["", "Types of remote code, read as the type they follow: "]
    lines[-1] += ", ".join(f"{name} ({inner})" for name, inner in sorted(OUTSIDE.items())) + "."
    lines += [
        "",
        "Types of remote code with readers of their own, held to published totals "
        "(`tests/convert/test_remote.py`): "
        + ", ".join(sorted(REMOTE))
        + "; multimodal ones, read "
        "through the type of their language model: "
        + ", ".join(sorted(REMOTE_TEXT))
        + "; with their towers "
        "(`tests/convert/test_remote_towers.py`): " + ", ".join(sorted(REMOTE_PARTS)) + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.convert.measured import NOT_RUN, NUM_DRAWS, UNBUILDABLE

    FILE.write_text(text(NOT_RUN, UNBUILDABLE, NUM_DRAWS), encoding="utf-8")
