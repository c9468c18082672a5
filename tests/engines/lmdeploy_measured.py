"""What lmdeploy's PyTorch engine makes of the shipped models: `python -m tests.engines.lmdeploy_measured`.

Needs torch, transformers and an unpacked wheel of lmdeploy, whose folder PYTHONPATH names; no GPU: Triton
is stood in for and a Hopper's properties are stated. ``ModelConfig.from_hf_config`` reads a config, the
engine's own ``ExecutorBase.update_configs`` sizes the pool for a free memory, and the plan of a block
states its bytes; nothing is loaded. Ten seconds; the output is tests/engines/lmdeploy.json.
"""

import json
import random
import sys
import warnings
from copy import deepcopy
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kvcalc.spec.catalog import load, shipped
from tests.engines.releases import Sources
from tests.engines.stand_ins import stand_in

FILE = Path(__file__).with_name("lmdeploy.json")
# What of its release says what changed (tests/engines/releases.py).
SOURCES = Sources(
    package="lmdeploy",
    classes=("messages.py",),
    functions=(
        "pytorch/engine/cache_engine/schema.py",
        "pytorch/engine/executor/base.py",
        "pytorch/paging/block_manager/default_block_manager.py",
        "pytorch/paging/block_manager/window_block_manager.py",
        "pytorch/configurations/default.py",
        "pytorch/configurations/deepseek_v2.py",
    ),
    models=(("pytorch/models/module_map.py", "MODULE_MAP"),),
)
RELEASE = "0.18.0"
POLICIES = {"auto": 0, "int4": 4, "int8": 8, "fp8": 16, "turbo_quant": 42}
RANKS = (1, 2, 16)
_MISSING = (
    "ray", "einops", "peft", "zmq", "fastapi", "uvicorn", "pydantic", "shortuuid", "openai", "tiktoken",
    "mmengine", "fire", "pybase64", "xgrammar", "openai_harmony", "partial_json_parser", "sentencepiece",
    "aiohttp", "prometheus_client", "PIL", "cv2", "pynvml", "accelerate", "msgpack", "torchvision",
    "rich",
    "safetensors", "tokenizers", "google", "requests", "psutil", "timm", "flash_mla", "deep_gemm",
)  # fmt: skip


def _config(name: str) -> Any:
    """The config of a shipped model as transformers has it, or None; and its architecture."""
    import transformers
    from lmdeploy.pytorch.models.module_map import MODULE_MAP
    from transformers.models.auto import modeling_auto

    from kvcalc.errors import KvcalcError
    from kvcalc.verify.twins.twin import twin_of

    try:
        twin = twin_of(load(name))
        config = transformers.CONFIG_MAPPING[twin.model_type](**twin.values)
    except (KvcalcError, ValueError, TypeError, KeyError):
        return None
    architecture = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(twin.model_type)
    if twin.difference or architecture not in MODULE_MAP:
        return None
    config.architectures = [architecture]
    if twin.model_type == "qwen3_next":
        # As the checkpoint's config.json has it; transformers' class keeps the list alone.
        config.full_attention_interval = 4
    return config


def measure(name: str) -> dict[str, Any] | None:
    """What a shipped model's pool takes; None where transformers or lmdeploy has no class."""
    config = _config(name)
    if config is None:
        return None
    rng = random.Random(name)
    row: dict[str, Any] = {"blocks": {}, "pools": []}
    try:
        for ranks in RANKS:
            row["blocks"][ranks] = [_block(config, ranks, policy) for policy in POLICIES.values()]
        for _ in range(3):
            free = rng.randint(4 << 30, 130 << 30)
            batch, step = rng.choice((128, 384, 1024)), rng.choice((8192, 4096))
            word = rng.choice(list(POLICIES))
            row["pools"].append(
                [free, batch, step, word, _pool(config, free, batch, step, POLICIES[word])]
            )
    except Exception as error:  # what it says of the config is the answer
        return {"fails": f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]}
    model = _model(config, 1)
    row["window"] = model.sliding_window
    row["states"] = _state_bytes(model)
    return row


def _model(config: Any, ranks: int) -> Any:
    """lmdeploy's own view of it; reading a config alters it, so of a copy."""
    from lmdeploy.pytorch.config import DistConfig, ModelConfig

    dist = DistConfig(tp=ranks)
    dist.attn_tp = ranks
    return ModelConfig.from_hf_config(deepcopy(config), dtype="bfloat16", dist_config=dist)


def _cache(policy: int, batch: int = 128, step: int = 8192) -> Any:
    from lmdeploy.messages import QuantPolicy
    from lmdeploy.pytorch.config import CacheConfig

    return CacheConfig(max_batches=batch, block_size=64, num_cpu_blocks=0, num_gpu_blocks=0,
                       max_prefill_token_num=step, quant_policy=QuantPolicy(policy),
                       num_reserved_gpu_blocks=1)  # fmt: skip


def _state_bytes(model: Any) -> int:
    from lmdeploy.pytorch.engine.cache_engine import StateCacheEngine

    if not model.states_shapes:
        return 0
    specs = getattr(model, "state_cache_specs", None)
    return int(StateCacheEngine.get_state_slot_nbytes(model.states_shapes, state_specs=specs))


def _block(config: Any, ranks: int, policy: int) -> int | str:
    from lmdeploy.pytorch.engine.cache_engine.plan import build_block_cache_plan

    try:
        plan = build_block_cache_plan(_model(config, ranks), _cache(policy), ranks)
    except AssertionError as error:
        return f"AssertionError: {error}"[:100]
    return int(plan.logical_block_nbytes)


def _pool(config: Any, free: int, batch: int, step: int, policy: int) -> list[int] | str:
    """Blocks of so much free memory, and the tokens of a step that are left."""
    from lmdeploy.pytorch.engine.cache_engine.plan import build_block_cache_plan
    from lmdeploy.pytorch.engine.executor.base import ExecutorBase, _WorkerCachePlanSizes

    class Executor(ExecutorBase):
        def gather_free_mem(self) -> list[int]:
            return [free]

        def _prepare_worker_cache_plans(self, cache: Any, spec: Any = None) -> list[Any]:
            plan = build_block_cache_plan(self.model_config, cache, 1)
            return [_WorkerCachePlanSizes(plan.logical_block_nbytes)]

        def set_cache_config(self, cache: Any, spec: Any = None) -> None:
            pass

        def set_model_config(self, model: Any, spec: Any = None) -> None:
            pass

    dist = SimpleNamespace(dp=1, world_size=1)
    misc = SimpleNamespace(memdecode_config=None)
    executor = Executor("", _model(config, 1), _cache(policy, batch, step), None, dist, misc)
    try:
        executor.update_configs()
    except (RuntimeError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"[:100]
    cache = executor.cache_config
    return [cache.num_gpu_blocks, cache.block_size, cache.max_prefill_token_num]


def section() -> str:
    """Its PyTorch engine's own classes: blocks, and the blocks of a free memory."""
    table = json.loads(FILE.read_text("utf-8"))
    lines = [
        "## lmdeploy", "",
        f"No public log states its sizes. The PyTorch engine of lmdeploy {table['lmdeploy']} read the "
        f"configs of {len(table['models'])} shipped models on {table['measured']}, without a GPU (a "
        f"Hopper's "
        "properties stated, Triton stood in for): its plan of a block in five formats over 1, 2 and 16 "
        "ranks, and the blocks that its executor makes of three free memories each. The tests hold kvcalc "
        "to all but 18 models, which are refused by name (`tests/engines/test_lmdeploy.py`, written by "
        "`python -m tests.engines.lmdeploy_measured`):", "",
        "| model | a block, bytes: 16 bits | int8 | int4 | free memory | batch, step, format | blocks |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]  # fmt: skip
    for name, row in table["models"].items():
        sizes, pool = row["blocks"]["1"], row["pools"][0]
        figures = f"{sizes[0]:,} | {sizes[2]:,} | {sizes[1]:,} | {pool[0]:,}"
        blocks = "refused" if isinstance(pool[4], str) else f"{pool[4][0]:,}"
        lines.append(f"| {name} | {figures} | {pool[1]}, {pool[2]}, {pool[3]} | {blocks} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    stand_in({"triton"}, _MISSING)
    import torch

    hopper = SimpleNamespace(major=9, minor=0, name="H100")
    torch.cuda.get_device_properties = lambda device=0: hopper
    torch.cuda.get_device_capability = lambda device=0: (9, 0)
    torch.cuda.get_device_name = lambda device=0: "H100"
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    assert version("lmdeploy") == RELEASE, f"this is lmdeploy {version('lmdeploy')}"
    names = sys.argv[1:] or list(shipped())
    found = {name: row for name in names if (row := measure(name)) is not None}
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found.items()]
    date = datetime.now(UTC).date().isoformat()
    FILE.write_text(
        f'{{"lmdeploy": "{RELEASE}", "measured": "{date}", "models": {{\n'
        + ",\n".join(lines)
        + "\n}}\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
