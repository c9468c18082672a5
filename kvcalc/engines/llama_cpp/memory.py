"""llama.cpp's memory table for one model on one machine: device by device, the host as the last.

    total = reserve + model + context + compute + outside + free

``model`` and ``context`` follow from files and flags to the byte; ``compute`` is compute.py's band;
``outside`` is what a driver's own context takes (printed as unaccounted by llama.cpp's table), a band
as well. The host holds what is not offloaded, the output buffer and what the server keeps there.
"""

from collections.abc import Sequence

from kvcalc.engines.engine import Device
from kvcalc.engines.llama_cpp.alongside import (
    ALONE,
    Alongside,
    Beside,
    check_draft,
    draft_flags,
    draft_type,
    with_draft,
)
from kvcalc.engines.llama_cpp.caches import caches_of, groups_kept
from kvcalc.engines.llama_cpp.compute import Band, compute_buffers
from kvcalc.engines.llama_cpp.file import ModelFile, model_file
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.placement import HOST, Place, Placement, place
from kvcalc.engines.llama_cpp.placing import Placing
from kvcalc.engines.llama_cpp.setup import Setup, resolve
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen, remembered
from kvcalc.memory.inventory import CacheGroup
from kvcalc.spec.model import ModelSpec
from kvcalc.units import MIB

# What drivers hold of a device beside llama.cpp's buffers, as its memory tables print it. Least: RTX
# 4090 on Linux. Most: what its own --fit leaves free (common/fit.cpp); Windows: RTX 5090.
OUTSIDE = Band(451 * MIB, 1024 * MIB)
OUTSIDE_WINDOWS = Band(1103 * MIB, 2183 * MIB)
# common.h: cache_ram_mib and n_ctx_checkpoints of llama-server.
PROMPT_CACHE, CHECKPOINTS = 8192 * MIB, 32


@frozen
class Unnamed:
    """A device of which nothing is known: its memory is not held against anything."""

    name: str
    vendor: str = ""
    bytes: int = 0
    sm: int | None = None


@frozen(kw_only=True)
class Machine:
    """Devices, RAM for what is not on them (None: not said), and what something else holds on each.

    shared: bytes of the RAM where the devices' memory is a part of it, so that what they hold is taken from
    it; None where they have their own.
    """

    devices: tuple[Device, ...]
    ram: int | None = None
    reserve: int = 0
    shared: int | None = None

    @property
    def free(self) -> tuple[int, ...]:
        return tuple(max(0, device.bytes - self.reserve) for device in self.devices)


@frozen(kw_only=True)
class Use:
    """What one device, or the host, holds.

    memory: None where it was not said. layers: of the model, the output counted. kept: (what, bytes)
    of what the server keeps in RAM, at most. beside: what lies there of other models.
    """

    name: str
    memory: int | None
    reserve: int
    layers: int
    model_bytes: int
    cache_bytes: int
    output_bytes: int
    compute: Band
    outside: Band
    kept: tuple[tuple[str, int], ...] = ()
    beside: tuple[Beside, ...] = ()

    @property
    def bounded(self) -> bool:
        """Whether every compute buffer has an upper end."""
        return all(each.most is not None for each in self._computes())

    def _computes(self) -> tuple[Band, ...]:
        return (self.compute, *(each.compute for each in self.beside))

    def taken(self, most: bool) -> int:
        """Without what the server keeps, at one end of the bands."""
        ends = [(band.most if most and band.most is not None else band.least)
                for band in (self.compute, self.outside)]  # fmt: skip
        held = self.model_bytes + self.cache_bytes + self.output_bytes
        held += sum(each.taken(most) for each in self.beside)
        return self.reserve + held + sum(ends)

    def free(self, most: bool = True) -> int | None:
        if self.memory is None:
            return None
        return self.memory - self.taken(most) - sum(size for _, size in self.kept)

    def holds(self, most: bool) -> bool:
        """Whether it fits: with all that the server may keep at the upper end, without at the lower."""
        if self.memory is None:
            return True
        kept = sum(size for _, size in self.kept) if most else 0
        return self.taken(most) + kept <= self.memory


@frozen(kw_only=True)
class Table:
    """The whole memory table. uses: the devices, then the host. read_bytes: in RAM, that a token reads
    (active weights, and the cache there). why: what the compute buffers rest on."""

    uses: tuple[Use, ...]
    placement: Placement
    read_bytes: int
    predicted: bool
    why: str

    def holds(self, most: bool) -> bool:
        return all(use.holds(most) for use in self.uses)


class Loaded:
    """One model in one type, set up by flags: asked for many placements. beside: what is loaded with it.

    Raises UnsupportedError for what llama.cpp cannot run, UsageError for flags that make no sense.
    """

    def __init__(
        self, spec: ModelSpec, dtype: str, flags: LlamaCppFlags, beside: Alongside = ALONE
    ) -> None:
        self.beside = beside
        self.draft: Loaded | None = None
        if beside.draft is not None:
            check_draft(spec, beside.draft.spec)
            kind = draft_type(beside.draft.spec, dtype)
            self.draft = Loaded(beside.draft.spec, kind, draft_flags(flags))
            flags = with_draft(flags)
        self.mtp = bool(flags.mtp_layers)
        if self.mtp:
            flags = with_draft(flags)
        self.spec, self.flags = spec, flags
        self.file: ModelFile = model_file(spec, dtype, self.mtp)
        self.groups = groups_kept(spec)
        self.setup: Setup = resolve(spec, flags)
        self.flash = flags.flash_attn != "off"
        _check_flash(self.setup, self.flash)
        self.layer_caches = _layer_caches(spec, self.groups, self.setup, flags)
        caches = caches_of(spec, self.groups, self.setup, flags)
        own = [cache for cache in caches if not cache.name.startswith("MTP")]
        self.draft_bytes = sum(cache.bytes for cache in caches) - sum(each.bytes for each in own)
        self.cells = tuple(
            cache.cells or 0 for cache in own if cache.type != "recurrent" and cache.bytes
        )
        # A checkpoint holds what cannot be cut back: window caches and states (server-context.cpp).
        self.checkpoint_bytes = sum(
            cache.bytes // self.setup.sequences
            for cache in own if cache.type == "recurrent" or "window" in cache.name
        )  # fmt: skip

    def table(self, machine: Machine, placing: Placing) -> Table:
        placed = place(self.file, machine.free, placing)
        largest = max(self.layer_caches.values(), default=0)
        compute, why = compute_buffers(
            self.spec, self.file, placed, ubatch=self.setup.ubatch, cells=self.cells,
            cache_bytes=largest, flash=self.flash, num_outputs=self.setup.sequences,
            pipelined=self._pipelined(machine, placing),
        )  # fmt: skip
        uses = [
            self._use(machine, placed, number, device, compute)
            for number, device in enumerate(machine.devices)
        ]
        uses.append(self._host(machine, placed, compute))
        uses = self._with_beside(uses, machine, placing, placed)
        if machine.shared is not None:
            held = Band(*(sum(use.taken(most) for use in uses[:-1]) for most in (False, True)))
            uses[-1] = changed(uses[-1], outside=held)
        used = [use.bounded for use in uses if use.layers or use.beside or use.name == "host"]
        host = uses[-1]
        return Table(
            uses=tuple(uses), placement=placed,
            read_bytes=placed.read_bytes + host.cache_bytes,
            predicted=all(used), why=why,
        )  # fmt: skip

    def _with_beside(
        self, uses: list[Use], machine: Machine, placing: Placing, placed: Placement
    ) -> list[Use]:
        """What is loaded beside the model, on the devices where it lies."""
        found: list[list[Beside]] = [[] for _ in uses]
        if self.beside.projector_bytes:
            size = self.beside.projector_bytes
            found[0].append(Beside(name="projector", model_bytes=size, compute=Band(0, None)))
        if self.mtp:
            last = placed.layers[self.file.num_layers - 1]
            found[-1 if last is None else last].append(
                Beside(name="MTP graph", model_bytes=0, compute=Band(0, None))
            )
        if self.draft is not None:
            for at, use in enumerate(self._draft_uses(self.draft, machine, placing)):
                part = Beside(
                    name="draft", model_bytes=use.model_bytes, cache_bytes=use.cache_bytes,
                    output_bytes=use.output_bytes, compute=use.compute,
                )  # fmt: skip
                if part.taken(most=True) or part.compute.most is None:
                    found[at].append(part)
        devices = (*map(_outside, machine.devices), Band(0, 0))
        return [changed(use, beside=tuple(own), outside=outside) if own else use
                for use, own, outside in zip(uses, found, devices, strict=True)]  # fmt: skip

    def _draft_uses(self, draft: "Loaded", machine: Machine, placing: Placing) -> tuple[Use, ...]:
        if len(machine.devices) > 1 and placing.one is None:
            raise UnsupportedError(
                f"--draft {draft.spec.name}: how llama.cpp deals a draft to several devices is not "
                "accounted for: --split-mode none puts both on one"
            )
        own = Placing(one=placing.one, offload_cache=placing.offload_cache)
        return draft.table(machine, own).uses

    def _pipelined(self, machine: Machine, placing: Placing) -> bool:
        """Several devices that hold all layers and all tensors of them (llama_context::llama_context)."""
        asked = placing.num_gpu_layers
        whole = asked is None or asked > self.file.num_layers
        moved = placing.overrides or placing.num_cpu_moe != 0
        several = len(machine.devices) > 1 and placing.one is None
        return several and whole and placing.offload_cache and not moved

    def _use(
        self, machine: Machine, placed: Placement, number: int, device: Device,
        compute: dict[Place, Band],
    ) -> Use:  # fmt: skip
        model = placed.model_bytes(number, device.vendor in ("NVIDIA", "AMD"))
        layers = sum(at == number for at in placed.layers)
        return Use(
            name=device.name, memory=device.bytes or None, reserve=machine.reserve, layers=layers,
            model_bytes=model, cache_bytes=self._cache(placed, number), output_bytes=0,
            compute=compute.get(number, Band(0, 0)),
            outside=_outside(device) if model or layers else Band(0, 0),
        )  # fmt: skip

    def _host(self, machine: Machine, placed: Placement, compute: dict[Place, Band]) -> Use:
        kept = [("prompt cache of the server (--cache-ram)", PROMPT_CACHE)]
        memory = machine.ram
        if memory is None and machine.shared is not None:
            memory, kept = machine.shared, []
        elif self.checkpoint_bytes:
            kept.append(("context checkpoints (--ctx-checkpoints)",
                         self.checkpoint_bytes * CHECKPOINTS * self.setup.sequences))  # fmt: skip
        return Use(
            name="host", memory=memory, reserve=0,
            layers=sum(at is HOST for at in placed.layers), model_bytes=placed.model_bytes(HOST),
            cache_bytes=self._cache(placed, HOST),
            output_bytes=4 * self.spec.vocab_size * self.setup.sequences,
            compute=compute[HOST], outside=Band(0, 0), kept=tuple(kept),
        )  # fmt: skip

    def _cache(self, placed: Placement, at: Place) -> int:
        own = sum(
            size for layer, size in self.layer_caches.items() if placed.cache_place(layer) == at
        )
        # The extra layers lie behind the others.
        last = placed.cache_place(self.file.num_layers - 1)
        return own + (self.draft_bytes if last == at else 0)


def _outside(device: Device) -> Band:
    return OUTSIDE_WINDOWS if getattr(device, "system", "") == "windows" else OUTSIDE


def _layer_caches(
    spec: ModelSpec, groups: tuple[CacheGroup, ...], setup: Setup, flags: LlamaCppFlags
) -> dict[int, int]:
    """What each layer keeps, caches and states."""
    alone = changed(flags, mtp_layers=None)
    found: dict[int, int] = {}
    for group in groups:
        total = sum(cache.bytes for cache in caches_of(spec, (group,), setup, alone))
        for layer in group.layers:
            found[layer] = found.get(layer, 0) + total // len(group.layers)
    return found


def _check_flash(setup: Setup, flash: bool) -> None:
    if not flash and setup.v.block_elements > 1:
        raise UsageError(
            f"llama.cpp refuses a V cache in {setup.v.name} without flash attention: leave "
            "--flash-attn off out, or give --cache-type-v f16 (llama_init_from_model)"
        )


@remembered
def _loaded(spec: ModelSpec) -> dict[tuple[str, LlamaCppFlags, Alongside], Loaded]:
    return {}


def load(spec: ModelSpec, dtype: str, flags: LlamaCppFlags, beside: Alongside = ALONE) -> Loaded:
    """A model set up by flags, made once for each. Raises as ``Loaded`` does."""
    made = _loaded(spec)
    key = (dtype, flags, beside)
    if key not in made:
        made[key] = Loaded(spec, dtype, flags, beside)
    return made[key]


def names_of(devices: Sequence[Device]) -> str:
    """``2 x rtx-3090-24gb``, ``rtx-4090 + rtx-3060-12gb``."""
    names = dict.fromkeys(device.name for device in devices)
    counts = {name: sum(device.name == name for device in devices) for name in names}
    return " + ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())
