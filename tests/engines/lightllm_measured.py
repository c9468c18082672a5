"""What LightLLM's own classes allocate for the shipped models: `python -m tests.engines.lightllm_measured`.

Needs torch, transformers and LightLLM's source at v1.2.0, whose folder PYTHONPATH names; no GPU: Triton and
what is not installed are stood in for, buffers lie on the meta device, and the memory is what is stated
here. A model's class reads config.json, checks the ranks and makes its memory manager; no weights are
made. Ten seconds; the output is tests/engines/lightllm.json, which the tests replay.
"""

import json
import os
import random
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvcalc.spec.catalog import load, shipped
from tests.engines.releases import Sources
from tests.engines.stand_ins import stand_in

FILE = Path(__file__).with_name("lightllm.json")
_MANAGERS = "common/kv_cache_mem_manager"
# What of its release says what changed (tests/engines/releases.py).
SOURCES = Sources(
    package="lightllm",
    classes=("models/registry.py",),
    functions=(f"{_MANAGERS}/mem_manager.py", f"{_MANAGERS}/mem_utils.py",
               f"{_MANAGERS}/deepseek2_mem_manager.py", f"{_MANAGERS}/ppl_int8kv_mem_manager.py",
               f"{_MANAGERS}/ppl_int4kv_mem_manager.py", "models/llama/model.py",
               "models/qwen2/model.py", "models/deepseek2/model.py"),
)  # fmt: skip
RELEASE = "1.2.0"
# --llm_kv_type, and whether its class can be made without a file of scales.
FORMATS = ("None", "int8kv", "int4kv")
RANKS = (1, 2, 16)
_MISSING = (
    "atomics", "cchardet", "chardet", "concurrent_log_handler", "cupy", "cutlass", "decord", "deep_ep",
    "deep_gemm", "easydict", "einops", "fastapi", "filelock", "flash_attn", "flash_mla", "flashinfer",
    "frozendict", "gunicorn", "httpx", "hypercorn", "interegular", "lark", "librosa", "msgpack", "nixl",
    "orjson", "outlines", "PIL", "prometheus_client", "psutil", "pydantic", "pynvml", "requests", "rpyc",
    "safetensors", "sentencepiece", "setproctitle", "sortedcontainers", "soundfile", "tiktoken",
    "tokenizers", "torch_memory_saver", "torchvision", "transformers_stream_generator", "ujson", "uvicorn",
    "uvloop", "websockets", "xformers", "xgrammar", "xxhash", "zmq",
)  # fmt: skip


def _config(name: str) -> dict[str, Any] | None:
    """config.json of a shipped model as transformers writes it; None where it has no class."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from kvcalc.errors import KvcalcError
    from kvcalc.verify.twins.twin import twin_of

    try:
        twin = twin_of(load(name))
        config = transformers.CONFIG_MAPPING[twin.model_type](**twin.values)
    except (KvcalcError, ValueError, TypeError, KeyError):
        return None
    found: dict[str, Any] = config.to_dict()
    found["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(twin.model_type) or ""]
    # Kimi-K2 is built as a deepseek_v3, and its checkpoints say another type.
    return None if twin.difference or twin.model_type != load(name).model_type else found


def measure(name: str) -> dict[str, Any] | None:
    """Sizes of a shipped model; None where transformers or LightLLM has no class."""
    from lightllm.models.registry import ModelRegistry

    config = _config(name)
    if config is None or config["model_type"] not in ModelRegistry._registry:
        return None
    rng = random.Random(name)
    row: dict[str, Any] = {"model_type": config["model_type"], "cells": {}, "pools": []}
    for ranks in RANKS:
        row["cells"][ranks] = [_made(config, ranks, kind, 1 << 34)[0] for kind in FORMATS]
    for _ in range(2):
        kind, ranks, left = (
            rng.choice(FORMATS),
            rng.choice(RANKS[:2]),
            rng.randrange(1 << 30, 1 << 36),
        )
        cell, tokens, taken = _made(config, ranks, kind, left)
        row["pools"].append([kind, ranks, left, tokens, taken] if isinstance(cell, int) else None)
    return row


def _made(config: dict[str, Any], ranks: int, kind: str, left: int) -> tuple[int | str, int, int]:
    """(bytes of a token on a rank, tokens, bytes of the buffers), or what it raised."""
    import torch
    from lightllm.common.kv_cache_mem_manager import mem_manager, mem_utils
    from lightllm.models.registry import get_model_class
    from lightllm.utils import envs_utils, llm_utils

    for each in (envs_utils.get_env_start_args, envs_utils.get_llm_data_type, 
                 mem_utils.select_mem_manager_class, llm_utils.get_llm_model_class):  # fmt: skip
        getattr(each, "cache_clear", lambda: None)()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), "utf-8")
        args = {
            "data_type": "bf16",
            "llm_kv_type": kind,
            "mtp_mode": None,
            "mtp_step": 0,
            "model_dir": folder,
        }
        os.environ["LIGHTLLM_START_ARGS"] = json.dumps(args)
        model = object.__new__(get_model_class(config))
        model.weight_dir_, model.finetune_config, model.load_way = folder, None, "HF"
        model.tp_world_size_, model.data_type = ranks, torch.bfloat16
        model.max_total_token_num, model.mem_fraction = None, 1.0
        # All that is free is left: what a share of the device takes off is the caller's.
        mem_manager.get_available_gpu_memory = lambda world: left / 1024**3
        mem_manager.get_total_gpu_memory = lambda: 0.0
        mem_manager.KvCacheAllocator = lambda size: (
            None
        )  # the list of free tokens, in pinned memory
        try:
            model._init_config()
            model._verify_must()
            model._verify_params()
            model._init_mem_manager()
        except Exception as error:  # what it says of the model is the answer
            return f"{type(error).__name__}: {' '.join(str(error).split())}"[:100], 0, 0
    made = model.mem_manager
    buffers = [value for value in vars(made).values() if isinstance(value, torch.Tensor)]
    return int(made.get_cell_size()), made.size, sum(one.nbytes for one in buffers)


def section() -> str:
    """Its memory managers: bytes of a token, and the tokens of a memory."""
    table = json.loads(FILE.read_text("utf-8"))
    lines = [
        "## LightLLM", "",
        "Its log states the bytes of a token and the tokens of a memory; no public one was found. The "
        f"memory managers of LightLLM {table['lightllm']} were made for {len(table['models'])} shipped "
        f"models on {table['measured']}, without a GPU (Triton stood in for, buffers on the meta "
        "device): the bytes of a token in three formats over 1, 2 and 16 ranks, and two memories each. "
        "The tests hold kvcalc to all that is not refused by name (`tests/engines/test_lightllm.py`, "
        "written by `python -m tests.engines.lightllm_measured`):", "",
        "| model | a token, bytes: 16 bits | int8kv | int4kv | on two ranks |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, row in table["models"].items():
        cells = (*row["cells"]["1"], row["cells"]["2"][0])
        shown = " | ".join("fails" if isinstance(each, str) else f"{each:,}" for each in cells)
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    stand_in({"triton", "vllm", "sgl_kernel"}, _MISSING)
    import torch

    empty = torch.empty
    torch.empty = lambda *size, **words: empty(
        *size, **{**words, "device": "meta", "pin_memory": False}
    )
    torch.cuda.empty_cache = lambda: None
    torch.distributed.get_world_size = lambda *_: 1
    import easydict
    import lightllm
    import lightllm.models

    easydict.EasyDict = type("EasyDict", (dict,), {"__getattr__": dict.get})
    from lightllm.utils import envs_utils

    envs_utils.EasyDict = easydict.EasyDict
    setup = (Path(lightllm.__path__[0]).parent / "setup.py").read_text("utf-8")
    assert re.search(r'version="([^"]+)"', setup)[1] == RELEASE  # type: ignore[index]
    names = sys.argv[1:] or list(shipped())
    found = {name: row for name in names if (row := measure(name)) is not None}
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found.items()]
    date = datetime.now(UTC).date().isoformat()
    FILE.write_text(
        f'{{"lightllm": "{RELEASE}", "measured": "{date}", "models": {{\n'
        + ",\n".join(lines)
        + "\n}}\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
