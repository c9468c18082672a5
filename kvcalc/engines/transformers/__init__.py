"""transformers: what Hugging Face transformers' cache objects hold (caches.py)."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.engine import Engine, Setting
from kvcalc.engines.request import CapacityRequest
from kvcalc.engines.transformers.ranks import no_ranks
from kvcalc.engines.transformers.versions import NEWEST, written
from kvcalc.memory.accounting import Accounting
from kvcalc.spec.model import ModelSpec


def _accounting(spec: ModelSpec, dtypes: CacheDtypes, version: str | None) -> Accounting:
    from kvcalc.engines.transformers.caches import accounting

    return accounting(spec, dtypes, version)


def _serve(setting: Setting) -> CapacityRequest:
    return CapacityRequest(engine_version=setting.engine_version, layout=setting.workload.layout)


ENGINE = Engine(
    name="transformers",
    words="transformers",
    version=written(NEWEST),
    flags=CapacityRequest,
    serve=_serve,
    accounting=_accounting,
    memory="none",
    no_ranks=no_ranks,
)
