"""llama.cpp: rows of cells, one cache per kind of layer, allocated whole at the start (pool.py)."""

from kvcalc.engines.engine import Device, Engine, Placed, Setting
from kvcalc.engines.holding import Holding
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags, cache_types, check_slots
from kvcalc.engines.llama_cpp.versions import VERSION
from kvcalc.engines.result import CapacityResult
from kvcalc.file_types import LADDER
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> LlamaCppFlags:
    workload = setting.workload
    check_slots(workload.num_sequences, "--batch")
    key, value = cache_types(setting.kv_dtype) if setting.kv_dtype else (None, None)
    given = {
        "ctx_size": workload.context_tokens,
        "cache_type_k": key,
        "cache_type_v": value,
        "state_dtype": workload.cache.state,
    }
    return LlamaCppFlags.of(
        "llama.cpp", given, engine_version=setting.engine_version, layout=workload.layout,
        compute_capability=setting.compute_capability,
    )  # fmt: skip


def _capacity(spec: ModelSpec, request: LlamaCppFlags) -> CapacityResult:
    from kvcalc.engines.llama_cpp.pool import capacity

    request.check()
    request.check_draft_types(drafted=False)
    return capacity(spec, request)


def _hold(spec: ModelSpec, request: LlamaCppFlags) -> Holding:
    from kvcalc.engines.llama_cpp.holding import hold

    return hold(spec, request)


def _placed(spec: ModelSpec, device: Device, workload: Workload, weight_bytes: int) -> Placed:
    from kvcalc.engines.llama_cpp.placed import placed

    return placed(spec, device, workload, weight_bytes)


def _runs_on(device: Device, version: str | None) -> str | None:
    """docs/build.md: CUDA, HIP, Metal, Vulkan, SYCL, CANN (Ascend); neither TPUs nor Gaudi."""
    if device.vendor == "Google" or device.name.startswith("gaudi"):
        return "it has no backend for it (llama.cpp, docs/build.md)"
    return None


ENGINE = Engine(
    name="llama.cpp",
    words="llama.cpp",
    version=VERSION,
    flags=LlamaCppFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    memory="cells",
    weights=lambda device: LADDER,
    caches=("q8_0", "q4_0"),
    placed=_placed,
    files=True,
    placed_note="every layer and cache on the device, at the upper end of the bands: with --ram, or a "
    "--dtype, 'kvcalc fit MODEL' places experts and layers in RAM, too",
    runs_on=_runs_on,
)
