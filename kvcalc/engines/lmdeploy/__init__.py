"""lmdeploy's PyTorch engine: blocks of 64 tokens from a share of the free memory (pool.py)."""

from kvcalc.engines.engine import Engine, Setting
from kvcalc.engines.holding import Holding
from kvcalc.engines.lmdeploy.flags import LmdeployFlags
from kvcalc.engines.lmdeploy.models import RELEASE
from kvcalc.engines.result import CapacityResult
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> LmdeployFlags:
    return setting.request(LmdeployFlags, "lmdeploy")


def _capacity(spec: ModelSpec, request: LmdeployFlags) -> CapacityResult:
    from kvcalc.engines.lmdeploy.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: LmdeployFlags) -> Holding:
    from kvcalc.engines.lmdeploy.holding import hold

    return hold(spec, request)


ENGINE = Engine(
    name="lmdeploy",
    words="lmdeploy",
    version=RELEASE,
    flags=LmdeployFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    share_of="free",
    caches=("int8", "int4"),
)
