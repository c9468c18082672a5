"""The logical need: what the mechanisms keep, in no engine's pages. Fits where weights + cache do."""

from fractions import Fraction

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Device, Engine, Item, Setting, Share
from kvcalc.engines.logical.admission import LogicalAdmission, LogicalFlags
from kvcalc.errors import UsageError
from kvcalc.memory.accounting import Accounting, logical
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec


def _accounting(spec: ModelSpec, dtypes: CacheDtypes, version: str | None) -> Accounting:
    if version is not None:
        raise UsageError("--engine-version: the logical accounting has no versions")
    return logical(spec)


def _serve(setting: Setting) -> LogicalFlags:
    workload = setting.workload
    if setting.engine_version is not None:
        raise UsageError("--engine-version: the logical accounting has no versions")
    return LogicalFlags(
        layout=workload.layout,
        cache=workload.cache,
        encoder_tokens=workload.encoder_tokens,
        beside=workload.beside,
    )


def _admission(spec: ModelSpec, request: LogicalFlags) -> Admission:
    return LogicalAdmission(spec, request)


def _takes(version: str | None) -> tuple[Item, ...]:
    return ()


def _share(spec: ModelSpec, device: Device, layout: Layout, requests: int | None) -> Share:
    return Share(of=Fraction(1))


ENGINE = Engine(
    name="logical",
    words="the logical need",
    version=None,
    flags=LogicalFlags,
    serve=_serve,
    accounting=_accounting,
    drafts=True,
    memory="none",
    admission=_admission,
    takes=_takes,
    share=_share,
    weights=lambda device: ("bf16", "fp8", "int4_g128"),
)
