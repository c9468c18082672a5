"""What an engine is: one record, which every command, budget and function of the library asks.

An engine counts in one of two ways. ``accounting`` gives the tensors that a library's cache object
keeps, group by group; ``hold`` gives blocks or cells of one sequence, with what they waste. An engine
with an allocator answers ``capacity``: what it takes of a given memory, in the words of its log.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Generic, Literal, Protocol, TypeVar

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.admission import Admission
from kvcalc.engines.flags import option_of
from kvcalc.engines.holding import Holding
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.request import CapacityRequest
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.adapters import Reservation
from kvcalc.memory.asked_beside import Beside
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

F = TypeVar("F", bound=CapacityRequest)

# What an engine may take of a device before its cache (kvcalc.deployment.overhead).
Item = Literal["activation peak", "CUDA graphs", "encoder cache", "libraries"]


class Device(Protocol):
    """What an engine looks at of a device. bytes: that a program sees. sm: the compute capability,
    90 for 9.0; 0 where it is no NVIDIA GPU, None where it is not known. vendor: "" likewise."""

    @property
    def name(self) -> str: ...
    @property
    def vendor(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sm(self) -> int | None: ...


@frozen
class Batch:
    """A scheduler step: tokens and requests."""

    tokens: int
    requests: int


@frozen(kw_only=True)
class Setting:
    """A server for a workload. kv_dtype: in the engine's words; None leaves it its default.

    step: tokens and requests of a step; None where no device decides them. requests: that run at once
    at most, as asked; None where the engine chooses.
    """

    workload: Workload
    kv_dtype: str | None = None
    engine_version: str | None = None
    compute_capability: int | None = None
    step: Batch | None = None
    requests: int | None = None

    def request(self, kind: type[F], words: str, **given: Any) -> F:
        """An engine's request: the workload's length, its cache's format, the ranks, the release.

        words: the engine, as sentences name it. given: its other flags, None where it chooses.
        """
        own = {
            "max_model_len": self.workload.context_tokens,
            "kv_dtype": self.kv_dtype,
            "state_dtype": self.workload.cache.state,
        }
        return kind.of(
            words, own | given, engine_version=self.engine_version, layout=self.workload.layout,
            compute_capability=self.compute_capability,
        )  # fmt: skip


@frozen(kw_only=True)
class Share:
    """The share of a device's memory that an engine takes by itself, and the note that says so."""

    of: Fraction
    note: str = ""


@frozen
class Reserved:
    """What an engine sets aside for embeddings of media. formula: with its name."""

    formula: str
    bytes: int


@frozen(kw_only=True)
class Placed:
    """One device as an engine's own table has it. free_bytes: what is left.

    longest_context: for the batch; largest_batch: for the context; 0: none, None: any. command: what
    starts it so. file_bytes: weights of the file that is placed, where it is not the whole model.
    """

    verdict: Literal["fits", "tight", "does not fit"]
    free_bytes: int
    longest_context: int | None
    largest_batch: int | None
    command: str = ""
    file_bytes: int | None = None


def weights_on(device: Device) -> tuple[str, ...]:
    """What servers run on a GPU: two bytes, fp8 where its tensor cores have it, int4 in groups.

    NVIDIA from compute capability 8.9 on, AMD's MI300 family, Gaudi (docs.vllm.ai, quantization,
    supported hardware). A GPU that is not known is taken to have it.
    """
    name = device.name
    fp8 = device.sm is None or device.sm >= 89 or name.startswith(("mi3", "gaudi"))
    return ("bf16", *(("fp8",) if fp8 else ()), "int4_g128")


@frozen(kw_only=True)
class Engine(Generic[F]):
    """One engine.

    name: as ``--engine`` takes it. words: as sentences name it. version: the newest known release.
    oldest: the oldest whose rules were read; None where another place refuses releases.
    flags: the dataclass of its flags. serve: its flags for a workload; refuses what it has not.

    accounting: the tensors it keeps, for a release. hold: its blocks for one sequence of the flags.
    capacity: what it allocates. memory: what sizes its pool: the memory left for it, the number of
    its cells, or nothing, as it allocates while it runs.

    admission: how many sequences it admits into a memory. takes: what it takes of a device beside
    weights and cache, by release; None where that was not measured. share: of the device's memory
    that is its own, None where it has to be said; share_of: whether that share is of the whole
    device or of what is free when the cache is made.

    embeddings: what it sets aside for embeddings of media, for a release and --max-num-seqs, where that
    is not vLLM's cache of a step's tokens.

    step: what a scheduler's step is on a device; None where it takes no memory that is accounted for.
    step_words: whose choice that is, for a note. schedules: whether its flags name the step.
    runs_on: why it does not run on a device, with the source; None where it does.
    beyond: how it is made to go past the model's longest, to end a sentence.
    no_weights: why it does not run a model's weights in a format; None where it does. no_ranks: why it
        does not divide a model among tensor ranks; None where it does.
    most_devices: on how many devices it is accounted for; None: any number.
    weights: formats of weights that people run it with on a device, widest first, those of
    published checkpoints apart. caches: formats of its cache below two bytes an element.
    placed: what it holds of one device, for a workload and the bytes of the weights, where its own
    table says it instead of ``takes`` and ``admission``; placed_note: what that leaves out.
    loads: the weights as its own model classes allocate them on each device of a layout, for a format,
    a release and a GPU; a sentence where that is not known.
    files: whether people choose among files of a model, so that one without a format is answered file
    by file. runs: the program whose release ``version`` is, where that is another. drafts: whether the
    cache of a model that drafts is accounted for. adapters: what it sets aside for LoRA adapters; None
    where that is not accounted for.
    """

    name: str
    words: str
    version: str | None
    flags: type[F]
    serve: Callable[[Setting], F]
    oldest: str | None = None
    accounting: Callable[[ModelSpec, CacheDtypes, str | None], Accounting] | None = None
    hold: Callable[[ModelSpec, F], Holding] | None = None
    capacity: Callable[[ModelSpec, F], CapacityResult] | None = None
    memory: Literal["left", "cells", "none"] = "left"
    admission: Callable[[ModelSpec, F], Admission] | None = None
    takes: Callable[[str | None], tuple[Item, ...]] | None = None
    share: Callable[[ModelSpec, Device, Layout, int | None], Share] | None = None
    share_of: Literal["device", "free"] = "device"
    embeddings: Callable[[ModelSpec, Device, str | None, int | None], Reserved | None] | None = None
    step: Callable[[Device], Batch] | None = None
    step_words: str = ""
    schedules: bool = False
    runs_on: Callable[[Device, str | None], str | None] = lambda device, version: None
    beyond: str = ""
    no_weights: Callable[[ModelSpec, str], str | None] = lambda spec, dtype: None
    no_ranks: Callable[[ModelSpec], str | None] = lambda spec: None
    most_devices: int | None = None
    weights: Callable[[Device], tuple[str, ...]] = lambda device: weights_on(device)
    caches: tuple[str, ...] = ("fp8",)
    placed: Callable[[ModelSpec, Device, Workload, int], Placed] | None = None
    placed_note: str = ""
    files: bool = False
    runs: str = ""
    drafts: bool = False
    adapters: Reservation | None = None
    loads: Callable[[ModelSpec, str, Layout, str | None, Device | None], Loaded | str] | None = None

    def drafting(self, spec: ModelSpec, beside: Beside) -> tuple[Beside, tuple[str, ...]]:
        """With the model's own MTP layers where only draft tokens were asked for, and what says so."""
        own = spec.mtp.num_layers if spec.mtp is not None else 0
        asked = beside.speculative_tokens and beside.draft is None and beside.mtp_layers is None
        known = {"mtp_layers", "speculative_tokens"} <= self.flags.__dataclass_fields__.keys()
        if not (own and asked and known and self.placed is None):
            return beside, ()
        return changed(beside, mtp_layers=own), (
            f"the model's {own} MTP layer(s) draft and have a cache; --mtp-layers 0 for a drafter without "
            "one",
        )

    def served(self, setting: Setting) -> F:
        """The flags for a workload and what is loaded beside the model. Raises UsageError for a flag
        that the engine has not, and as ``serve``."""
        found, beside = self.serve(setting), setting.workload.beside
        given: dict[str, Any] = {
            name: value
            for name, value in (("mtp_layers", beside.mtp_layers),
                                ("speculative_tokens", beside.speculative_tokens))
            if value is not None
        }  # fmt: skip
        for name in given:
            if name not in self.flags.__dataclass_fields__:
                raise UsageError(f"{self.words} has no {option_of(name)}")
        return changed(found, draft=beside.draft, **given)

    def _check_draft(self, request: F) -> None:
        if request.draft is not None and not self.drafts:
            raise UnsupportedError(
                f"--draft: where {self.words} keeps a draft's cache is not accounted for"
            )

    def named(self, version: str | None) -> str:
        """``vllm 0.33.0``, ``ollama (llama.cpp v0.5.0)``."""
        if version is None:
            return self.name
        return f"{self.name} ({self.runs} {version})" if self.runs else f"{self.name} {version}"

    def held(self, spec: ModelSpec, request: F) -> Holding:
        """Blocks of one sequence. Raises UnsupportedError where it has none, and as ``hold``."""
        if self.hold is None:
            raise UnsupportedError(f"{self.words} holds tensors, not blocks of a pool")
        self._check_draft(request)
        if not self.drafts and getattr(request, "mtp_layers", None):
            raise UnsupportedError(
                f"--mtp-layers: what {self.words} holds for a sequence of them is not accounted for: "
                "'kvcalc capacity' says what it allocates"
            )
        found = self.hold(spec, request)
        beyond = self.unread(request.engine_version)
        return changed(found, notes=(*found.notes, *beyond)) if beyond else found

    def allocated(self, spec: ModelSpec, request: F) -> CapacityResult:
        """What it allocates. Raises UnsupportedError where it has no pool, and as ``capacity``."""
        if self.capacity is None:
            raise UnsupportedError(
                f"{self.words} has no pool that it allocates: 'kvcalc estimate --engine {self.name}' "
                "says what it holds for a workload"
            )
        self._check_draft(request)
        found = self.capacity(spec, request)
        return changed(found, notes=(*found.notes, *self.unread(request.engine_version)))

    def unread(self, version: str | None) -> tuple[str, ...]:
        """What is assumed of a release that is newer than the newest whose rules were read.

        Raises UsageError for a word that is no release, for one that is older than the oldest whose
        rules were read, and for another release of an engine of which one was read (llama.cpp's).
        """
        if version is None or self.version is None:
            return ()
        known, given = _numbers(self.version), _numbers(version)
        if not given or (self.version.startswith("v") and given != known):
            raise UsageError(
                f"--engine-version {version}: the rules of {self.words} here are those of {self.version}"
            )
        # "0.5" is the newest 0.5.
        if self.oldest is not None and given < _numbers(self.oldest)[: len(given)]:
            raise UsageError(
                f"--engine-version {version}: {self.oldest} is the oldest release of {self.words} "
                "whose rules were read"
            )
        if given <= known:
            return ()
        return (
            f"{self.words} {version} is newer than {self.version}, the newest release that was read: "
            "its rules are taken",
        )

    def admitting(self, spec: ModelSpec, request: F) -> Admission:
        """What it admits. Raises UnsupportedError where that is not known, and as its rules do."""
        if self.admission is None:
            raise UnsupportedError(f"how many requests {self.words} admits is not known here")
        self._check_draft(request)
        return self.admission(spec, request)

    def check_layout(self, layout: Layout) -> None:
        """Raises UnsupportedError for more devices than it is accounted for on."""
        if self.most_devices is not None and layout.devices > self.most_devices:
            raise UnsupportedError(
                f"{self.words}: how it divides a model among devices is not accounted for"
            )

    def check_ranks(self, spec: ModelSpec, layout: Layout) -> None:
        """Raises UnsupportedError for tensor ranks that it does not divide the model among."""
        reason = self.no_ranks(spec) if layout.tensor > 1 else None
        if reason is not None:
            raise UnsupportedError(f"{spec.name}: {reason}")

    def check_weights(self, spec: ModelSpec, dtype: str) -> None:
        """Raises UnsupportedError where it does not run the weights in that format."""
        reason = self.no_weights(spec, dtype)
        if reason is not None:
            raise UnsupportedError(f"{spec.name}: {reason}")

    def check_device(self, device: Device, version: str | None) -> None:
        """Raises UnsupportedError where it does not run on the device, with the reason."""
        reason = self.runs_on(device, version)
        if reason is not None:
            raise UnsupportedError(f"{self.words} does not run on {device.name}: {reason}")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release)))[:3]


AnyEngine = Engine[Any]
