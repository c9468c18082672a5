"""onnxruntime-genai: buffers of max_length for every sequence, at once (buffers.py)."""

from kvcalc.engines.engine import Engine, Setting
from kvcalc.engines.holding import Holding
from kvcalc.engines.onnxruntime_genai.flags import OnnxruntimeGenaiFlags
from kvcalc.engines.onnxruntime_genai.models import RELEASE
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> OnnxruntimeGenaiFlags:
    workload = setting.workload
    if workload.beams > 1:
        raise UnsupportedError(
            "onnxruntime-genai searches beams with buffers that grow, two generations of them alive: "
            "not accounted for"
        )
    from kvcalc.engines.onnxruntime_genai.buffers import check_batch

    check_batch(workload.num_sequences)
    return setting.request(OnnxruntimeGenaiFlags, "onnxruntime-genai")


def _capacity(spec: ModelSpec, request: OnnxruntimeGenaiFlags) -> CapacityResult:
    from kvcalc.engines.onnxruntime_genai.buffers import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: OnnxruntimeGenaiFlags) -> Holding:
    from kvcalc.engines.onnxruntime_genai.buffers import hold

    return hold(spec, request)


ENGINE = Engine(
    name="onnxruntime-genai",
    words="onnxruntime-genai",
    version=RELEASE,
    flags=OnnxruntimeGenaiFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    memory="cells",
    most_devices=1,
)
