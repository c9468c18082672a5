"""tpu-inference: vLLM on TPUs, pages of whole lanes (pool.py)."""

from kvcalc.engines.engine import Device, Engine, Setting
from kvcalc.engines.holding import Holding
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tpu_inference.flags import TpuFlags
from kvcalc.engines.tpu_inference.rows import RELEASE
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> TpuFlags:
    max_num_seqs = max(1, setting.workload.num_sequences)
    return setting.request(TpuFlags, "tpu-inference", max_num_seqs=max_num_seqs)


def _capacity(spec: ModelSpec, request: TpuFlags) -> CapacityResult:
    from kvcalc.engines.tpu_inference.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: TpuFlags) -> Holding:
    from kvcalc.engines.tpu_inference.pool import hold

    return hold(spec, request)


def _runs_on(device: Device, version: str | None) -> str | None:
    """vLLM's plugin for TPUs (docs.vllm.ai, installation)."""
    if device.vendor in ("Google", ""):
        return None
    return (
        "it is vLLM's plugin for TPUs; --engine vllm has pages of GPUs (docs.vllm.ai, installation)"
    )


ENGINE = Engine(
    name="tpu-inference",
    words="tpu-inference",
    version=RELEASE,
    flags=TpuFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    runs_on=_runs_on,
)
