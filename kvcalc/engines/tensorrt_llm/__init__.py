"""TensorRT-LLM: blocks of tokens from a share of the memory that is free after a dry run (pool.py)."""

from fractions import Fraction

from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Batch, Device, Engine, Item, Setting, Share
from kvcalc.engines.holding import Holding
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.versions import NEWEST, OLDEST
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> TensorrtLlmFlags:
    state_dtype = setting.workload.cache.state
    return setting.request(TensorrtLlmFlags, "TensorRT-LLM", state_dtype=state_dtype)


def _capacity(spec: ModelSpec, request: TensorrtLlmFlags) -> CapacityResult:
    from kvcalc.engines.tensorrt_llm.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: TensorrtLlmFlags) -> Holding:
    from kvcalc.engines.tensorrt_llm.holding import hold

    return hold(spec, request)


def _admission(spec: ModelSpec, request: TensorrtLlmFlags) -> Admission:
    from kvcalc.engines.tensorrt_llm.admission import TensorrtLlmAdmission

    return TensorrtLlmAdmission(spec, request)


def _takes(version: str | None) -> tuple[Item, ...]:
    """It measures what is free before it captures graphs."""
    return ("activation peak", "libraries")


def _share(spec: ModelSpec, device: Device, layout: Layout, requests: int | None) -> Share:
    return Share(of=Fraction(9, 10))


def _step(device: Device) -> Batch:
    """The model of its activations is vLLM's, and so is the step that it is of."""
    from kvcalc.engines.vllm import default_batch

    return default_batch(device)


def _runs_on(device: Device, version: str | None) -> str | None:
    """nvidia.github.io/TensorRT-LLM, supported hardware: NVIDIA from Ampere on."""
    if device.vendor != "NVIDIA" and (device.vendor or device.sm == 0):
        return "it is made for NVIDIA's (nvidia.github.io/TensorRT-LLM, supported hardware)"
    if device.sm and device.sm < 80:
        return (
            f"it needs compute capability 8.0, and this has {device.sm // 10}.{device.sm % 10} "
            "(nvidia.github.io/TensorRT-LLM, supported hardware)"
        )
    return None


ENGINE = Engine(
    name="tensorrt-llm",
    words="TensorRT-LLM",
    version=NEWEST,
    oldest=OLDEST,
    flags=TensorrtLlmFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    admission=_admission,
    takes=_takes,
    share=_share,
    share_of="free",
    step=_step,
    step_words=", assumed: TensorRT-LLM's own step is not accounted for",
    runs_on=_runs_on,
)
