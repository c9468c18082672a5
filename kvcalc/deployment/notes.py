"""What a fit assumed, and what does not follow from measurements."""

from collections.abc import Iterator

from kvcalc.deployment.answer import Fit, FitRequest, step_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import CARRIED_OVER, EVIDENCE
from kvcalc.engines import engine_of
from kvcalc.memory.beside import parts_beside
from kvcalc.memory.estimate import beyond_longest
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes


def notes_for(spec: ModelSpec, answer: Fit) -> Iterator[str]:
    """What was assumed, and what does not follow from measurements."""
    device, request = answer.device, answer.request
    beyond = beyond_longest(spec, request.workload.context_tokens)
    if beyond is not None:
        yield beyond + past_the_longest(request.engine)
    yield from request.record.unread(request.engine_version)
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
        seen = format_bytes(device.bytes)
        yield f"{device.name}: of its {device.nominal} a program sees {seen}, as printed in {device.source}"
    yield from _beside(device)
    yield from request.notes
    workload = request.workload
    if any(item.name == "encoder cache" for one in answer.devices for item in one.overheads):
        yield encoder_note(request)
    for part in parts_beside(spec, workload.beside, workload.dtype, request.layout):
        yield from part.notes
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


def encoder_note(request: FitRequest) -> str:
    """What room for embeddings of media is, in the words of an engine."""
    if request.record.embeddings is not None:
        return (
            f"encoder cache: {request.engine_words} sets it aside before its pools; what towers take while "
            "they run is in what its share leaves"
        )
    largest, limits = request.workload.largest_item, dict(request.media.limits)
    held = unknown = ""
    if largest is not None:
        found = largest.of(request.workload.context_tokens, limits)
        held = f", or of the largest item: {_A[found[0]]} of {found[1]:,}" if found else ""
        if found and found[0] != "image" and largest.grows:
            held += f" where the longest request has {request.workload.context_tokens:,}"
        names = " and ".join(largest.unknown(limits))
        unknown = f"; how large its {names} items are planned is not known here" if names else ""
    return (
        f"encoder cache: embeddings of a step's tokens{held}{unknown}; what the towers themselves take "
        "while they run is not counted"
    )


_A = {"image": "an image", "video": "a video", "audio": "a sound"}


def past_the_longest(name: str) -> str:
    """How an engine is made to go past the model's longest."""
    return engine_of(name).beyond
