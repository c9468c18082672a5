"""transformers' continuous batching (``generate_batch``, ``transformers serve``): pages in sectors."""

from kvcalc.engines.engine import Engine, Setting
from kvcalc.engines.holding import Holding
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.transformers_cb.flags import TransformersCbFlags
from kvcalc.engines.transformers_cb.models import RELEASE
from kvcalc.spec.model import ModelSpec

_WORDS = "transformers' continuous batching"


def _serve(setting: Setting) -> TransformersCbFlags:
    workload = setting.workload
    given = {"max_model_len": workload.context_tokens, "kv_dtype": setting.kv_dtype}
    return TransformersCbFlags.of(
        _WORDS, given, engine_version=setting.engine_version, layout=workload.layout,
        compute_capability=setting.compute_capability,
    )  # fmt: skip


def _capacity(spec: ModelSpec, request: TransformersCbFlags) -> CapacityResult:
    from kvcalc.engines.transformers_cb.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: TransformersCbFlags) -> Holding:
    from kvcalc.engines.transformers_cb.holding import hold

    return hold(spec, request)


ENGINE = Engine(
    name="transformers-cb",
    words=_WORDS,
    version=RELEASE,
    flags=TransformersCbFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
)
