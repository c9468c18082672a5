"""mlx-lm: what its model classes keep (caches.py). Release 0.32.2; it runs on Apple's GPUs."""

from fractions import Fraction

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Device, Engine, Item, Setting, Share
from kvcalc.engines.mlx.flags import MlxFlags
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UsageError
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.layout import Layout
from kvcalc.mlx.classes import RELEASE
from kvcalc.spec.model import ModelSpec

_OWN = ("bf16", "fp16", "fp32")
_NOT_COUNTED = (
    "weights and caches (at the prefill's peak) alone: what mlx's graph of a step of 2,048 tokens takes "
    "beside them is not predicted; leave a GiB or two"
)
_TEXT_ALONE = (
    "; mlx-lm reads text alone: the towers of vision and sound, which it drops, are counted in bf16 and "
    "not in its own types"
)
# As people convert models, widest first.
_WEIGHTS = ("bf16", "mlx-8bit", "mlx-6bit", "mlx-5bit", "mlx-4bit", "mlx-3bit")


def _accounting(spec: ModelSpec, dtypes: CacheDtypes, version: str | None) -> Accounting:
    from kvcalc.engines.mlx.caches import accounting

    return accounting(spec, dtypes, version)


def _serve(setting: Setting) -> MlxFlags:
    workload = setting.workload
    ENGINE.check_layout(workload.layout)
    if workload.cache.state is not None:
        raise UsageError("--state-dtype: mlx-lm's classes choose the format of their states")
    return MlxFlags(
        engine_version=setting.engine_version, layout=workload.layout,
        max_model_len=workload.context_tokens or None, kv_dtype=setting.kv_dtype,
        weights=workload.dtype,
    )  # fmt: skip


def _admission(spec: ModelSpec, request: MlxFlags) -> Admission:
    from kvcalc.engines.mlx.admission import MlxAdmission

    if request.weights:
        ENGINE.check_weights(spec, request.weights)
    return MlxAdmission(spec, request)


def _capacity(spec: ModelSpec, request: MlxFlags) -> CapacityResult:
    from kvcalc.engines.mlx.pool import capacity

    return capacity(spec, request)


def _no_weights(spec: ModelSpec, dtype: str) -> str | None:
    """Published fp8 and int4 are unpacked to 16 bits or packed anew (mlx_lm/utils.py, load_model)."""
    held = [dtype]
    if dtype == "checkpoint":
        told = (rule.format or "" for rule in spec.weight_formats)
        held = [*spec.weight_dtypes.values(), *told]
    if spec.model_type == "gpt_oss":
        held = [name for name in held if name != "mxfp4"]
    known = {name for name in held if name in _OWN or name.startswith("mlx")}
    strange = dict.fromkeys(name for name in held if name and name not in known)
    if not strange:
        return None
    return (
        f"mlx-lm runs 16 bits and its own formats, not {' and '.join(strange)}: say --dtype bf16, or one "
        "of its types such as mlx-4bit"
    )


def _takes(version: str | None) -> tuple[Item, ...]:
    return ()


def _share(spec: ModelSpec, device: Device, layout: Layout, requests: int | None) -> Share:
    return Share(of=Fraction(1), note=_NOT_COUNTED + (_TEXT_ALONE if spec.towers else ""))


def _runs_on(device: Device, version: str | None) -> str | None:
    if device.vendor in ("Apple", ""):
        return None
    return "mlx's GPU code is Metal's (its CUDA and CPU builds are not accounted for here)"


ENGINE = Engine(
    name="mlx",
    words="mlx-lm",
    version=RELEASE,
    flags=MlxFlags,
    serve=_serve,
    accounting=_accounting,
    capacity=_capacity,
    memory="cells",
    admission=_admission,
    takes=_takes,
    share=_share,
    runs_on=_runs_on,
    no_weights=_no_weights,
    most_devices=1,
    weights=lambda device: _WEIGHTS,
    caches=("mlx-8bit", "mlx-4bit"),
    files=True,
)
