"""vLLM: one pool of equal blocks, sized by the fullest rank, shared by groups of layers (pool.py)."""

from fractions import Fraction

from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Batch, Device, Engine, Item, Setting, Share
from kvcalc.engines.holding import Holding
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.vllm.adapters import VllmReservation
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.versions import NEWEST, OLDEST, rules_for
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec
from kvcalc.units import GIB


def _serve(setting: Setting) -> VllmFlags:
    workload, step = setting.workload, setting.step
    return setting.request(
        VllmFlags, "vLLM", encoder_tokens=workload.encoder_tokens or None,
        state_dtype=workload.cache.state, max_num_batched_tokens=step.tokens if step else None,
        max_num_seqs=step.requests if step else None,
    )  # fmt: skip


def _capacity(spec: ModelSpec, request: VllmFlags) -> CapacityResult:
    from kvcalc.engines.vllm.classes import check_class
    from kvcalc.engines.vllm.pool import capacity

    check_class(spec, request.engine_version)
    return capacity(spec, request)


def _hold(spec: ModelSpec, request: VllmFlags) -> Holding:
    from kvcalc.engines.vllm.classes import check_class
    from kvcalc.engines.vllm.holding import hold

    check_class(spec, request.engine_version)
    return hold(spec, request)


def _admission(spec: ModelSpec, request: VllmFlags) -> Admission:
    from kvcalc.engines.vllm.admission import VllmAdmission
    from kvcalc.engines.vllm.classes import check_class

    check_class(spec, request.engine_version)
    return VllmAdmission(spec, request)


def _loads(
    spec: ModelSpec, dtype: str, layout: Layout, version: str | None, device: Device | None
) -> Loaded | str:
    from kvcalc.engines.vllm.loading import loaded

    return loaded(spec, dtype, layout, version, device)


def _takes(version: str | None) -> tuple[Item, ...]:
    """The memory of CUDA graphs is set aside since 0.21."""
    graphs: tuple[Item, ...] = ("CUDA graphs",) if rules_for(version).graphs_set_aside else ()
    return ("activation peak", *graphs, "encoder cache", "libraries")


def _share(spec: ModelSpec, device: Device, layout: Layout, requests: int | None) -> Share:
    return Share(of=Fraction(9, 10))


def default_batch(device: Device) -> Batch:
    """What vLLM's server takes by itself (vllm/engine/arg_utils.py, get_batch_defaults)."""
    if device.bytes >= 160 * GIB:
        return Batch(16384, 1024)
    if device.bytes >= 70 * GIB and "a100" not in device.name and device.name != "gb10":
        return Batch(8192, 1024)
    return Batch(2048, 256)


# Accelerators that a plugin of its own runs, whose memory follows other rules.
_PLUGINS = {
    "Intel": "vllm-gaudi",
    "Huawei": "vllm-ascend",
    "Apple": "vllm-metal",
}


# Before gfx90a (MI200) and, of the Radeons, other than gfx1100, 1101, 1151, 1200 and 1201.
_EARLIER_AMD = (
    "mi50", "mi60", "mi100", "rx-480", "rx-580", "rx-vega", "radeon-vii", "rx-5", "rx-6", "rx-7600",
    "radeon-pro-v620", "radeon-pro-w6800",
)  # fmt: skip


def _runs_on(device: Device, version: str | None) -> str | None:
    """docs.vllm.ai, getting started, installation, GPU: NVIDIA from compute capability 7.0 on, AMD
    from MI200 on; other hardware is left to plugins."""
    if device.sm and device.sm < 70:
        return (
            f"it needs compute capability 7.0, and this has {device.sm // 10}.{device.sm % 10} "
            "(docs.vllm.ai, installation, GPU)"
        )
    if not device.vendor and device.sm == 0:
        return "it is plain memory: vLLM's CPU build is not accounted for (docs.vllm.ai, installation, CPU)"
    if device.vendor == "Intel" and not device.name.startswith("gaudi"):
        return "its XPU build does, whose memory is not accounted for (docs.vllm.ai, installation, GPU)"
    if device.vendor == "AMD" and device.name.startswith(_EARLIER_AMD):
        return (
            "of AMD's it runs on MI200 and later, Radeon 7700 to 7900 and 9000, Ryzen AI "
            "(docs.vllm.ai, installation, GPU)"
        )
    if device.vendor == "Google":
        return (
            "the plugin tpu-inference does, with pages of its own: --engine tpu-inference --available SIZE "
            "(docs.vllm.ai, installation)"
        )
    plugin = _PLUGINS.get(device.vendor)
    if plugin is not None:
        return (
            f"the plugin {plugin} does, whose memory is not accounted for (docs.vllm.ai, "
            "installation)"
        )
    return None


ENGINE = Engine(
    name="vllm",
    words="vLLM",
    version=NEWEST,
    oldest=OLDEST,
    flags=VllmFlags,
    serve=_serve,
    capacity=_capacity,
    hold=_hold,
    admission=_admission,
    takes=_takes,
    share=_share,
    drafts=True,
    adapters=VllmReservation(),
    step=default_batch,
    step_words=", as vLLM chooses for this memory",
    schedules=True,
    loads=_loads,
    runs_on=_runs_on,
    beyond="; vLLM stops unless --hf-overrides gives the model card's rope scaling, or "
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1",
)
