"""Does it fit, how far does it go, and what to change when it does not.

On each device: memory * utilization - weights - overheads is left for the cache, and a request's
cache is its logical need on the rank that holds most of it. The stage with the least room decides.
The overheads have a band (kvcalc.deployment.overhead): ``fits`` holds at its upper end too, ``tight``
only at the model's value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import Batch, Overhead, default_batch, overheads
from kvcalc.deployment.parallelism import Layout, Stage, stages_of
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_tokens

# No model goes further; a cache that does not grow would have no end.
LONGEST = 1 << 24
_TENSOR, _PIPELINE = (1, 2, 4, 8), (1, 2, 4, 8)

# What people give vLLM on a device that runs nothing else, and a step for a few requests.
MOST_UTILIZATION, SMALL = Fraction(19, 20), Batch(2048, 16)

Verdict = Literal["fits", "tight", "does not fit"]


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """The question.

    context_tokens, batch_size: requests that must be held at once, over all replicas.
    batch: the engine's scheduler step; None takes what vLLM chooses for the device.
    """

    context_tokens: int
    batch_size: int = 1
    encoder_tokens: int = 0
    dtype: str = "bf16"
    cache: CacheDtypes = field(default_factory=CacheDtypes)
    layout: Layout = field(default_factory=Layout)
    utilization: Fraction = Fraction(9, 10)
    batch: Batch | None = None


@dataclass(frozen=True)
class Device:
    """One device of one stage. free: what is left for the cache; least, most: its band."""

    stage: int
    layers: range
    weight_bytes: int
    overheads: tuple[Overhead, ...]
    free: int
    free_least: int
    free_most: int
    cache_bytes: int


@dataclass(frozen=True)
class Change:
    """One way to make it fit. cost: what it costs, in words; they are listed cheapest first."""

    what: str
    cost: str


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The answer. longest_context: for the batch; largest_batch: for the context; 0: none.

    fewest: the layout with the fewest devices that holds the request; None: none up to 64.
    """

    model: str
    model_context: int | None
    device: Accelerator
    request: FitRequest
    budget: int
    devices: tuple[Device, ...]
    verdict: Verdict
    longest_context: int
    largest_batch: int
    fewest: Layout | None
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


class Planner:
    """Answers for one model; what does not depend on the device is worked out once."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._stages: dict[tuple[str, CacheDtypes, Layout], tuple[Stage, ...]] = {}

    def stages(self, request: FitRequest) -> tuple[Stage, ...]:
        key = (request.dtype, request.cache, request.layout)
        if key not in self._stages:
            self._stages[key] = stages_of(self.spec, *key)
        return self._stages[key]

    def devices(self, device: Accelerator, request: FitRequest) -> tuple[Device, ...]:
        """One device of each stage."""
        layout, budget = request.layout, _budget(device, request)
        step = request.batch or default_batch(device.bytes, device.name)
        sequences = -(-request.batch_size // layout.data)
        found = []
        stages = self.stages(request)
        for number, stage in enumerate(stages):
            items = overheads(self.spec, step, layout.tensor, layout.pipeline,
                              last_stage=number == len(stages) - 1,
                              ranks=layout.tensor * (layout.data if layout.expert else 1))  # fmt: skip
            left = budget - stage.weight_bytes
            found.append(
                Device(
                    number,
                    stage.layers,
                    stage.weight_bytes,
                    items,
                    left - sum(item.bytes for item in items),
                    left - sum(item.most for item in items),
                    left - sum(item.least for item in items),
                    sequences * stage.cache.most(request.context_tokens, request.encoder_tokens),
                )
            )
        return tuple(found)

    def verdict(self, devices: tuple[Device, ...]) -> Verdict:
        if all(one.cache_bytes <= one.free_least and one.free_least > 0 for one in devices):
            return "fits"
        if all(one.cache_bytes <= one.free and one.free > 0 for one in devices):
            return "tight"
        return "does not fit"

    def holds(self, device: Accelerator, request: FitRequest) -> bool:
        """Whether it fits at the model's value; False too for a layout that the model refuses."""
        try:
            return self.verdict(self.devices(device, request)) != "does not fit"
        except UnsupportedError:
            return False

    def longest_context(self, device: Accelerator, request: FitRequest) -> int:
        """The longest context at which the whole batch fits, the model's own longest at most."""
        limit = self.spec.max_position_embeddings or LONGEST
        least, most = 0, max(1, limit)
        if not self.holds(device, replace(request, context_tokens=0)):
            return 0
        if self.holds(device, replace(request, context_tokens=most)):
            return most
        while most - least > 1:
            middle = (least + most) // 2
            if self.holds(device, replace(request, context_tokens=middle)):
                least = middle
            else:
                most = middle
        return least

    def largest_batch(self, devices: tuple[Device, ...], request: FitRequest) -> int:
        """The most requests of the context that fit; the stage with the least room decides."""
        layout = request.layout
        rooms = []
        for one, stage in zip(devices, self.stages(request), strict=True):
            need = stage.cache.most(request.context_tokens, request.encoder_tokens)
            if one.free <= 0:
                return 0
            if need:
                rooms.append(one.free // need)
        return min(rooms, default=LONGEST) * layout.data

    def fewest(self, device: Accelerator, request: FitRequest) -> Layout | None:
        """The fewest devices; of those, the most tensor ranks (up to 8, one machine)."""
        layouts = sorted(
            (Layout(tensor, pipeline) for tensor in _TENSOR for pipeline in _PIPELINE),
            key=lambda layout: (layout.devices, -layout.tensor),
        )
        for layout in layouts:
            try:
                if self.holds(device, replace(request, layout=layout)):
                    return layout
            except KvcalcError:
                continue
        return None

    def fit(self, device: Accelerator, request: FitRequest) -> Fit:
        """The whole answer. Raises UnsupportedError where the layout does not divide the model."""
        devices = self.devices(device, request)
        verdict = self.verdict(devices)
        largest = self.largest_batch(devices, request)
        longest = self.longest_context(device, request)
        fewest = self.fewest(device, request)
        changes: tuple[Change, ...] = ()
        if verdict == "does not fit":
            changes = tuple(self._changes(device, request, longest, largest, fewest))
        return Fit(
            model=self.spec.name,
            model_context=self.spec.max_position_embeddings,
            device=device,
            request=request,
            budget=_budget(device, request),
            devices=devices,
            verdict=verdict,
            longest_context=longest,
            largest_batch=largest,
            fewest=fewest,
            changes=changes,
            notes=tuple(_notes(self.spec, device, request)),
        )

    def _changes(
        self, device: Accelerator, request: FitRequest, longest: int, largest: int,
        fewest: Layout | None,
    ) -> Iterator[Change]:  # fmt: skip
        """What makes it fit, in this order: more of the memory and smaller steps, less precision in
        the cache, less service, less precision in the weights, more hardware.
        """
        yield from self._roomier(device, request)
        cache8 = CacheDtypes("fp8", "fp8", request.cache.state)
        two_bytes = request.cache.key in ("bf16", "fp16", "fp32")
        if two_bytes and self.holds(device, replace(request, cache=cache8)):
            yield Change("--kv-dtype fp8", "precision of the cache; states stay as they are")
        if 0 < largest < request.batch_size:
            yield Change(
                f"--batch {largest}", f"{largest} of {request.batch_size} requests at once"
            )
        if 0 < longest < request.context_tokens:
            yield Change(
                f"--context {longest}",
                f"requests of {longest:,} tokens, not {format_tokens(request.context_tokens)}",
            )
        for dtype, cost in (
            ("fp8", "precision of the weights, or a checkpoint that was made in fp8"),
            ("int4_g128", "much precision of the weights (groups of 128)"),
        ):
            if request.dtype in (dtype, "int4_g128", "checkpoint"):
                continue
            if self.holds(device, replace(request, dtype=dtype)):
                yield Change(f"--dtype {dtype}", cost)
            elif two_bytes and self.holds(device, replace(request, dtype=dtype, cache=cache8)):
                yield Change(f"--dtype {dtype} --kv-dtype fp8", cost + ", and of the cache")
        now = request.layout
        if fewest is not None and fewest.devices >= now.devices:
            flags = f"--tp {fewest.tensor}"
            if fewest.pipeline > 1 or now.pipeline > 1:
                flags += f" --pp {fewest.pipeline}"
            more = fewest.devices > now.devices
            yield Change(flags, f"{fewest.devices} devices instead of {now.devices}" if more
                         else f"the same {now.devices} devices, dealt out differently")  # fmt: skip

    def _roomier(self, device: Accelerator, request: FitRequest) -> Iterator[Change]:
        """The engine's own flags: they cost no precision and no device."""
        step = request.batch or default_batch(device.bytes, device.name)
        small = Batch(min(step.tokens, SMALL.tokens), max(SMALL.requests, request.batch_size))
        flags = [("", "", request)]
        if request.utilization < MOST_UTILIZATION:
            flags.append((f"--memory-utilization {float(MOST_UTILIZATION):g}",
                          "nothing else may use the device",
                          replace(request, utilization=MOST_UTILIZATION)))  # fmt: skip
        for what, cost, changed in flags[1:]:
            if self.holds(device, changed):
                yield Change(what, cost)
                return
        if small.requests >= step.requests:
            return
        for what, cost, changed in flags:
            if self.holds(device, replace(changed, batch=small)):
                steps = f"--max-num-batched-tokens {small.tokens} --max-num-seqs {small.requests}"
                price = (
                    f"{small.requests} requests at once, prompts in steps of {small.tokens} tokens"
                )
                yield Change(f"{what} {steps}".strip(), f"{price}{'; ' + cost if cost else ''}")
                return


def _budget(device: Accelerator, request: FitRequest) -> int:
    """ceil(total * utilization), as vLLM's request_memory has it."""
    return -int(-device.bytes * request.utilization // 1)


def _notes(spec: ModelSpec, device: Accelerator, request: FitRequest) -> Iterator[str]:
    step = request.batch or default_batch(device.bytes, device.name)
    yield (
        f"{step.tokens} tokens and {step.requests} requests a step"
        + ("" if request.batch else ", as vLLM chooses for this memory")
    )
    if not device.measured:
        yield (
            f"{device.name}: the vendor's {device.nominal}, in decimal bytes; what a program sees "
            "was not found in any log"
        )
    elif device.least != device.most:
        yield f"{device.name}: {device.nominal}, seen by programs as printed in {device.source}"
    if device.vendor not in ("NVIDIA", ""):
        yield "overheads were measured on NVIDIA hardware; on others they are a guess of the same size"
    if spec.left_out:
        yield f"not counted: {'; '.join(spec.left_out)}"


def memory_for_cache(
    spec: ModelSpec, device: Accelerator, request: FitRequest, engine: str
) -> tuple[int, int, int]:
    """(at the model's value, least, most) bytes of one device that an engine has for its cache.

    vllm: total * utilization - weights - all overheads. sglang: total * mem_fraction_static -
    weights - libraries (activations and graphs live in the rest). tensorrt-llm: what is free after
    weights, activations and libraries, before its own share of it. The fullest stage decides.
    """
    kept = {
        "vllm": ("activation peak", "CUDA graphs", "libraries"),
        "sglang": ("libraries",),
        "tensorrt-llm": ("activation peak", "libraries"),
    }.get(engine)
    if kept is None:
        raise UsageError(f"{engine}: what it takes of a GPU is not known here; give --available")
    if engine == "tensorrt-llm":
        request = replace(request, utilization=Fraction(1))
    budget = _budget(device, request)
    rooms = []
    for one in Planner(spec).devices(device, replace(request, context_tokens=0)):
        items = [item for item in one.overheads if item.name in kept]
        left = budget - one.weight_bytes
        taken = (sum(item.bytes for item in items), sum(item.most for item in items),
                 sum(item.least for item in items))  # fmt: skip
        rooms.append(tuple(left - each for each in taken))
    value, least, most = min(rooms)
    return value, least, most
