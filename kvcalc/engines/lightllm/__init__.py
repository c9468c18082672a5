"""LightLLM: one token of every layer at a time, from what the weights leave (pool.py)."""

from kvcalc.engines.engine import Engine, Setting
from kvcalc.engines.holding import Holding
from kvcalc.engines.lightllm.flags import RELEASE, LightllmFlags
from kvcalc.engines.result import CapacityResult
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> LightllmFlags:
    return setting.request(LightllmFlags, "LightLLM")


def _capacity(spec: ModelSpec, request: LightllmFlags) -> CapacityResult:
    from kvcalc.engines.lightllm.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: LightllmFlags) -> Holding:
    from kvcalc.engines.lightllm.pool import hold

    return hold(spec, request)


ENGINE = Engine(
    name="lightllm",
    words="LightLLM",
    version=RELEASE,
    flags=LightllmFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    caches=("int8kv", "int4kv"),
)
