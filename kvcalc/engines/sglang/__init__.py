"""SGLang: pools of token slots sized from what is left after loading, states apart (pool.py)."""

from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Device, Engine, Item, Reserved, Setting, Share
from kvcalc.engines.holding import Holding
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.sglang.adapters import SglangReservation
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.versions import NEWEST, OLDEST
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec


def _serve(setting: Setting) -> SglangFlags:
    return setting.request(
        SglangFlags, "SGLang", state_dtype=setting.workload.cache.state,
        max_num_seqs=setting.requests,
    )  # fmt: skip


def _capacity(spec: ModelSpec, request: SglangFlags) -> CapacityResult:
    from kvcalc.engines.sglang.pool import capacity

    return capacity(spec, request)


def _hold(spec: ModelSpec, request: SglangFlags) -> Holding:
    from kvcalc.engines.sglang.holding import hold

    return hold(spec, request)


def _admission(spec: ModelSpec, request: SglangFlags) -> Admission:
    from kvcalc.engines.sglang.admission import SglangAdmission

    return SglangAdmission(spec, request)


def _loads(
    spec: ModelSpec, dtype: str, layout: Layout, version: str | None, device: Device | None
) -> Loaded | str:
    from kvcalc.engines.sglang.loading import loaded

    return loaded(spec, dtype, layout, version, device)


def _takes(version: str | None) -> tuple[Item, ...]:
    """Activations and graphs live in what its share leaves."""
    return ("encoder cache", "libraries")


def _share(spec: ModelSpec, device: Device, layout: Layout, requests: int | None) -> Share:
    from kvcalc.engines.sglang.share import default_share

    return default_share(spec, device, layout, requests)


def _embeddings(
    spec: ModelSpec, device: Device, version: str | None, requests: int | None
) -> Reserved | None:
    from kvcalc.engines.sglang.media import reserved

    return reserved(spec, device, version, requests)


def _runs_on(device: Device, version: str | None) -> str | None:
    """docs.sglang.io, installation: NVIDIA from compute capability 7.5 on; TPUs by SGLang-JAX."""
    if device.sm and device.sm < 75:
        return (
            f"it needs compute capability 7.5, and this has {device.sm // 10}.{device.sm % 10} "
            "(docs.sglang.io, installation)"
        )
    if device.vendor == "Google":
        return "SGLang-JAX does, whose memory is not accounted for (docs.sglang.io, TPU)"
    if not device.vendor and device.sm == 0:
        return "it is plain memory, which is not accounted for (docs.sglang.io, CPU servers)"
    if device.vendor in ("Intel", "Huawei", "Apple"):
        return "its pools there are not accounted for (docs.sglang.io, hardware platforms)"
    return None


ENGINE = Engine(
    name="sglang",
    words="SGLang",
    version=NEWEST,
    oldest=OLDEST,
    flags=SglangFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    admission=_admission,
    takes=_takes,
    loads=_loads,
    share=_share,
    embeddings=_embeddings,
    drafts=True,
    adapters=SglangReservation(),
    runs_on=_runs_on,
)
