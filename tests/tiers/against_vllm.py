"""vLLM's own sizing of its host tier against kvcalc's: ``python -m tests.tiers.against_vllm FOLDER``.

FOLDER holds an unpacked wheel (``pip download --no-deps vllm==0.33.0``, unzip). Of its files only
v1/kv_offload/config.py, cpu/common.py and cpu/spec.py are run; what they import beside is a stand-in.
Run for 0.33.0 on 2026-11-29: 670 models x ranks, none differs.
"""

import importlib.util
import random
import sys
import types
from pathlib import Path
from typing import Any

from kvcalc.convert.locate import load
from kvcalc.errors import KvcalcError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import shipped
from kvcalc.tiers import vllm
from kvcalc.tiers.question import TierQuestion

BASE = (
    "CanonicalKVCaches", "OffloadingCounterMetadata", "OffloadingGaugeMetadata",
    "OffloadingHistogramMetadata", "OffloadingManager", "OffloadingMetricMetadata", "OffloadingWorker",
    "BlockIDsLoadStoreSpec", "ConfigInfo",
)  # fmt: skip


class _Spec:
    """What CPUOffloadingSpec extends, as far as it uses it."""

    def __init__(self, config: Any) -> None:
        self.config, self.extra_config = config, config.extra_config
        self.blocks_per_chunk = config.cache.blocks_per_chunk


def _stand_in(name: str, **names: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module


def _stand_ins() -> None:
    for package in (
        "vllm",
        "vllm.utils",
        "vllm.v1",
        "vllm.v1.kv_offload",
        "vllm.v1.kv_offload.cpu",
    ):
        _stand_in(package)
    cuda = types.SimpleNamespace(
        is_cuda_alike=lambda: True, is_rocm=lambda: False, is_xpu=lambda: False
    )
    _stand_in("vllm.platforms", current_platform=cuda)
    _stand_in(
        "vllm.utils.math_utils", cdiv=lambda a, b: -(-a // b), round_up=lambda a, b: -(-a // b) * b
    )
    every = {name: type(name, (), {}) for name in BASE}
    _stand_in("vllm.v1.kv_offload.base", OffloadingSpec=_Spec, **every)
    beside = {"gpu_worker": "CPUOffloadingWorker", "manager": "CPUOffloadingManager"}
    for module, name in beside.items():
        _stand_in(f"vllm.v1.kv_offload.cpu.{module}", **{name: object})
    region = type("SharedOffloadRegion", (), {"BLOCK_SIZE_ALIGNMENT": 4096})
    _stand_in("vllm.v1.kv_offload.cpu.shared_offload_region", SharedOffloadRegion=region)


def _load(folder: Path, name: str) -> Any:
    path = folder / (name.replace(".", "/") + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(folder: Path) -> int:
    _stand_ins()
    config = _load(folder, "vllm.v1.kv_offload.config")
    _load(folder, "vllm.v1.kv_offload.cpu.common")
    own = _load(folder, "vllm.v1.kv_offload.cpu.spec")
    random.seed(1)
    num_asked = num_wrong = 0
    for name in shipped():
        for ranks in (1, 2, 8):
            size = random.randrange(10**9, 10**12)
            workload = Workload(context_tokens=8192, layout=Layout(ranks, 1))
            question = TierQuestion(engine="vllm", workload=workload)
            try:
                host = vllm.plan(load(name), question).tiers[0]
                blocks, _ = vllm.blocks_of(load(name), question)
            except KvcalcError:
                continue
            asked = config.OffloadingConfig(
                groups=(), enable_kv_cache_events=False, extra_config={"cpu_bytes_to_use": size},
                worker_kv_bytes_per_block=blocks.layout.width(e.layer for e in blocks.entries),
                engine_id="", model=config.OffloadingModelConfig("", "bf16"),
                cache=config.OffloadingCacheConfig(16, 1),
                parallel=config.OffloadingParallelConfig(0, ranks, ranks, 1, 1, 1, 0, 1, None, False),
                replicated_layout=all(e.page.kind in ("latent", "index") for e in blocks.entries),
            )  # fmt: skip
            made = own.CPUOffloadingSpec(asked)
            num_asked += 1
            if (made.num_chunks, made.kv_bytes_per_chunk) != (host.count(size), host.unit_bytes):
                num_wrong += 1
                print(f"{name} on {ranks}: {made.num_chunks} chunks, kvcalc {host.count(size)}")
    print(f"{num_asked} asked, {num_wrong} differ")
    return num_wrong


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
