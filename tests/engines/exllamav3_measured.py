"""What exllamav3's own classes hold of the shipped models: `python -m tests.engines.exllamav3_measured`.

Needs torch, transformers and an unpacked wheel of exllamav3, whose folder PYTHONPATH names; no GPU, as its
CUDA extension and Triton are stood in for and nothing is loaded: models are built from config.json, a
``Cache`` is made for them, and each layer says its ``storage_size``. Ten seconds; the output is
tests/engines/exllamav3.json, which the tests replay.
"""

import importlib.machinery
import json
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kvcalc.spec.catalog import load, shipped
from tests.engines.releases import Sources
from tests.engines.stand_ins import stand_in

FILE = Path(__file__).with_name("exllamav3.json")
# What of its release says what changed (tests/engines/releases.py).
SOURCES = Sources(
    package="exllamav3",
    classes=("cache/fp16.py", "cache/quant.py", "cache/mla.py", "cache/dsa.py", "cache/qsa.py"),
    functions=("cache/fp16.py", "cache/quant.py", "cache/mla.py", "cache/cache.py"),
    models=(("architecture/architectures.py", "import"),),
)
RELEASE = "1.6.5"
# Tokens of the pool; formats of keys and values, None: fp16; (slots, draft tokens, states in fp32).
TOKENS = 4096
FORMATS: tuple[tuple[int, int] | None, ...] = (None, (4, 4), (8, 4), (6, 5))
STATES = ((1, 0, False), (16, 0, False), (4, 3, False), (2, 1, True))
_MISSING = ("flash_attn", "formatron", "kbnf", "llguidance", "xformers", "marisa_trie", "ninja", "einops",
            "tokenizers", "PIL", "rich", "pydantic", "safetensors", "yaml", "psutil")  # fmt: skip


def measure(name: str) -> dict[str, Any] | None:
    """What a shipped model's caches take; None where transformers writes no config of it."""
    import torch
    import transformers
    from exllamav3 import Cache, CacheLayer_quant, Config, Model
    from exllamav3.architecture.architectures import ARCHITECTURES
    from transformers.models.auto import modeling_auto

    from kvcalc.errors import KvcalcError
    from kvcalc.verify.twins.twin import twin_of

    try:
        twin = twin_of(load(name))
        config = transformers.CONFIG_MAPPING[twin.model_type](**twin.values).to_dict()
    except (KvcalcError, ValueError, TypeError, KeyError):
        return None
    architecture = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(twin.model_type)
    if twin.difference or architecture not in ARCHITECTURES:
        return None
    _as_published(config, architecture)
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(config), "utf-8")
            model = Model.from_config(Config.from_directory(folder))
    except Exception as error:  # what its reader says of the file is the answer
        return {"fails": f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]}
    row: dict[str, Any] = {"architecture": architecture, "formats": [], "states": []}
    for bits in FORMATS:
        words = (
            {}
            if bits is None
            else {"layer_type": CacheLayer_quant, "k_bits": bits[0], "v_bits": bits[1]}
        )
        try:
            cache = Cache(model, max_num_tokens=TOKENS, **words)
            row["formats"].append(sum(int(one.storage_size()) for one in cache.layers.values()))
        except Exception as error:
            row["formats"].append(f"{type(error).__name__}: {' '.join(str(error).split())}"[:120])
    row["layers"] = len(cache.layers)
    for slots, history, wide in STATES:
        dtype = torch.float if wide else torch.half
        cache = Cache(model, max_num_tokens=TOKENS, max_batch_size=slots, max_history=history,
                      recurrent_dtype=dtype)  # fmt: skip
        row["states"].append(
            sum(int(one.storage_size()) for one in cache.recurrent_layers.values())
        )
    row["recurrent"] = len(cache.recurrent_layers)
    return row


def _as_published(config: dict[str, Any], architecture: str) -> None:
    """Spell what this library reads as the checkpoints do, where transformers' class writes it anew."""
    config["architectures"] = [architecture]
    config["norm_topk_prob"] = True
    if isinstance(config.get("sliding_window_pattern"), int):
        config["sliding_window_pattern"] = "LLLG"
    config.setdefault("num_experts", config.get("num_local_experts"))
    if config["model_type"] == "nemotron_h":
        config.pop("mtp_layers_block_type", None)
        named = {"linear_attention": "mamba", "full_attention": "attention"}
        types = config.get("layers_block_type") or config["layer_types"]
        config["layers_block_type"] = [named.get(each, each) for each in types]


def section() -> str:
    """Its cache classes, made for every shipped model: what each layer says it stores."""
    table = json.loads(FILE.read_text("utf-8"))
    sizes = sum(len(row["formats"]) + len(row["states"]) for row in table["models"].values())
    lines = [
        "## exllamav3", "",
        f"It logs no sizes. exllamav3 {table['exllamav3']}'s own classes were built for "
        f"{len(table['models'])} shipped models on {table['measured']}, without a GPU (its extension stood "
        f"in for), and each layer of a `Cache` stated what it stores: {sizes:,} sizes, in four formats, "
        "and for four numbers of slots. The tests hold kvcalc to all but those of four models, which are "
        "refused by name (`tests/engines/test_exllamav3.py`, written by `python -m "
        "tests.engines.exllamav3_measured`); those with slots:", "",
        "| model | 4,096 tokens in fp16 | q4 | q8:q4 | 16 slots |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, row in table["models"].items():
        if row["states"][1]:
            figures = (*row["formats"][:3], row["states"][1])
            lines.append(f"| {name} | {' | '.join(f'{each:,}' for each in figures)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    importlib.machinery.EXTENSION_SUFFIXES.append(".stand-in")
    stand_in({"exllamav3_ext", "triton"}, _MISSING, origin="exllamav3_ext.stand-in")
    import exllamav3

    assert version("exllamav3") == RELEASE, f"this is exllamav3 {version('exllamav3')}"
    assert exllamav3.Cache is not None
    names = sys.argv[1:] or list(shipped())
    found = {name: row for name in names if (row := measure(name)) is not None}
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found.items()]
    date = datetime.now(UTC).date().isoformat()
    FILE.write_text(
        f'{{"exllamav3": "{RELEASE}", "measured": "{date}", "models": {{\n'
        + ",\n".join(lines)
        + "\n}}\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
