"""What would make it fit, cheapest first, and what a fit assumed."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

from kvcalc.deployment.answer import Change, Fit, FitRequest, step_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import CARRIED_OVER, EVIDENCE
from kvcalc.deployment.planner import Planner
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import engine_of
from kvcalc.engines.engine import Batch
from kvcalc.memory.estimate import beyond_longest
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes, format_tokens

# What people give vLLM on a device that runs nothing else, and a step for a few requests.
MOST_UTILIZATION, SMALL = Fraction(19, 20), Batch(2048, 16)


def changes_for(planner: Planner, answer: Fit) -> Iterator[Change]:
    """What makes it fit, each by itself, in this order: the engine's own flags, less precision in the
    cache, less service, less precision in the weights, more hardware.
    """
    device, request = answer.device, answer.request

    def change(what: str, cost: str, **fields: object) -> Iterator[Change]:
        changed = request.of(**fields)
        if planner.holds(device, changed):
            tight = planner.verdict(device, changed) == "tight"
            yield Change(what, cost + ("; tight" if tight else ""))

    yield from _flags(planner, device, request)
    cache8 = CacheDtypes("fp8", "fp8", request.workload.cache.state)
    two_bytes = request.workload.cache.key in ("bf16", "fp16", "fp32")
    if two_bytes:
        yield from change("--kv-dtype fp8", "precision of the cache; states stay as they are",
                          cache=cache8)  # fmt: skip
    batch = answer.largest_batch_least or answer.largest_batch
    if batch and batch < request.workload.batch_size:
        yield from change(
            f"--batch {batch}", f"{batch:,} of {request.workload.batch_size:,} requests at once",
            batch_size=batch,
        )  # fmt: skip
    longest = answer.longest_context_least or answer.longest_context
    if longest and longest < request.workload.context_tokens:
        cost = (
            f"requests of {longest:,} tokens, not {format_tokens(request.workload.context_tokens)}"
        )
        tokens = request.workload.encoder_tokens
        encoder = f" --encoder-context {tokens}" if tokens else ""
        yield from change(f"--context {longest}{encoder}", cost, context_tokens=longest)
    for dtype, cost in (
        ("fp8", "precision of the weights, or a checkpoint that was made in fp8"),
        ("int4_g128", "much precision of the weights (groups of 128)"),
    ):
        if request.workload.dtype in (dtype, "int4_g128", "checkpoint"):
            continue
        narrower = tuple(change(f"--dtype {dtype}", cost, dtype=dtype))
        if not narrower and two_bytes:
            narrower = tuple(change(f"--dtype {dtype} --kv-dtype fp8", cost + ", and of the cache",
                                    dtype=dtype, cache=cache8))  # fmt: skip
        yield from narrower
    now, fewest = request.layout, answer.fewest
    if fewest is not None and fewest.devices >= now.devices:
        flags = f"--tp {fewest.tensor}"
        if fewest.pipeline > 1 or now.pipeline > 1:
            flags += f" --pp {fewest.pipeline}"
        more = fewest.devices > now.devices
        yield from change(flags, f"{fewest.devices} devices instead of {now.devices}" if more
                          else f"the same {now.devices} devices, dealt out differently",
                          layout=fewest)  # fmt: skip


def _flags(planner: Planner, device: Accelerator, request: FitRequest) -> Iterator[Change]:
    """The engine's own flags: they cost no precision and no device. As few of them as do it."""
    record, step = request.record, step_of(device, request)
    flags: list[tuple[str, str, dict[str, object]]] = []
    if planner.share(device, request).of < MOST_UTILIZATION:
        flags.append((f"--memory-utilization {float(MOST_UTILIZATION):g}",
                      "nothing else may use the device", {"utilization": MOST_UTILIZATION}))  # fmt: skip
    if step is not None:
        small = Batch(min(step.tokens, SMALL.tokens), max(SMALL.requests, request.sequences))
        if small.requests < step.requests:
            flags.append((
                f"--max-num-batched-tokens {small.tokens} --max-num-seqs {small.requests}",
                f"{small.requests} requests at once, prompts in steps of {small.tokens} tokens",
                {"max_num_batched_tokens": small.tokens, "max_num_seqs": small.requests},
            ))  # fmt: skip
    taken = record.takes(request.engine_version) if record.takes is not None else ()
    if not request.eager and "CUDA graphs" in taken:
        flags.append(("--enforce-eager", "speed: no CUDA graphs", {"eager": True}))
    for count in range(1, len(flags) + 1):
        found = []
        for some in combinations(flags, count):
            fields = {name: value for _, _, each in some for name, value in each.items()}
            changed = replace(request, **fields)  # type: ignore[arg-type]
            if planner.holds(device, changed):
                tight = "; tight" if planner.verdict(device, changed) == "tight" else ""
                found.append(Change(" ".join(what for what, _, _ in some),
                                    "; ".join(cost for _, cost, _ in some) + tight))  # fmt: skip
        if found:
            yield from found
            return


def notes_for(spec: ModelSpec, answer: Fit) -> Iterator[str]:
    """What was assumed, and what does not follow from measurements."""
    device, request = answer.device, answer.request
    beyond = beyond_longest(spec, request.workload.context_tokens)
    if beyond is not None:
        yield beyond + past_the_longest(request.engine)
    for item in answer.devices[0].waste[:2]:
        yield f"{item.cause}: {item.why}"
    if answer.share.note:
        yield answer.share.note
    step = step_of(device, request)
    if step is not None:
        asked = request.max_num_batched_tokens is not None or request.max_num_seqs is not None
        whose = "" if asked else request.record.step_words
        yield f"{step.tokens} tokens and {step.requests} requests a step{whose}"
    if any(one.overheads for one in answer.devices):
        yield overhead_note(answer.measured)
    if not device.measured:
        yield (
            f"{device.name}: the vendor's {device.nominal}; what a program sees was not found in "
            "any log, and may be up to a tenth less"
        )
    elif device.vendor:
        yield f"{device.name}: {device.nominal}, seen by programs as printed in {device.source}"
    yield from _beside(device)
    if spec.left_out:
        yield f"not counted: {'; '.join(spec.left_out)}"


def _beside(device: Accelerator) -> Iterator[str]:
    """What else is known of a device: its note, and what another system shows."""
    if device.note:
        yield f"{device.name}: {device.note}"
    for system, size in device.systems:
        if device.unified or system == device.system:
            continue
        yield f"{device.name}: {system.capitalize()} shows {format_bytes(size)} ({device.name}-{system})"


def overhead_note(measured: bool) -> str:
    """Where the overheads are from, in the words of fit and capacity."""
    if measured:
        return f"overheads measured on an H100 with vLLM 0.19: {EVIDENCE}"
    return (
        f"overheads {CARRIED_OVER} ({EVIDENCE}); nobody measured them on this GPU and release, so the "
        "band is twice as wide"
    )


def past_the_longest(name: str) -> str:
    """How an engine is made to go past the model's longest."""
    return engine_of(name).beyond
