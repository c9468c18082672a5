"""exllamav3: a cache of so many tokens, quantised if asked, and slots for states and windows (pool.py)."""

from kvcalc.engines.engine import Engine, Setting
from kvcalc.engines.exllamav3.flags import Exllamav3Flags
from kvcalc.engines.exllamav3.models import RELEASE
from kvcalc.engines.holding import Holding
from kvcalc.engines.result import CapacityResult
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> Exllamav3Flags:
    state_dtype = setting.workload.cache.state
    return setting.request(Exllamav3Flags, "exllamav3", state_dtype=state_dtype)


def _capacity(spec: ModelSpec, request: Exllamav3Flags) -> CapacityResult:
    from kvcalc.engines.exllamav3.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: Exllamav3Flags) -> Holding:
    from kvcalc.engines.exllamav3.pool import hold

    return hold(spec, request)


ENGINE = Engine(
    name="exllamav3",
    words="exllamav3",
    version=RELEASE,
    flags=Exllamav3Flags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    most_devices=1,
    caches=("q8", "q4"),
)
