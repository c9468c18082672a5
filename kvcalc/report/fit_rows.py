"""The lines of a fit answer, shared by the table and the markdown."""

from collections.abc import Iterator

from kvcalc.deployment.fit import LONGEST, Device, Fit
from kvcalc.units import format_bytes, format_tokens

DEVICE_HEADERS = ("on one device of each stage", "bytes", "measured band")
ALL_HEADERS = (
    "accelerator", "memory", "one device", "longest context", "largest batch", "fewest devices",
)  # fmt: skip


def headline(fit: Fit) -> str:
    """One sentence: what was asked, and the verdict."""
    request = fit.request
    each = f"{format_tokens(request.context_tokens)} tokens x {request.batch_size}"
    devices = request.layout.devices
    return (
        f"{each} in {request.cache.kv_name}, weights in {request.dtype}, on {devices} x "
        f"{fit.device.name} ({request.layout}): {fit.verdict}"
    )


def device_rows(fit: Fit, device: Device) -> Iterator[tuple[str, str, str]]:
    """What one device's memory goes to."""
    share = f"{float(fit.request.utilization):g}"
    yield "memory", format_bytes(fit.device.bytes), fit.device.source
    yield f"x {share} that the engine may use", format_bytes(fit.budget), ""
    yield "weights", format_bytes(device.weight_bytes), ""
    for item in device.overheads:
        band = f"{format_bytes(item.least)} to {format_bytes(item.most)}"
        yield item.name, format_bytes(item.bytes), band
    yield (
        "left for the cache",
        format_bytes(device.free),
        f"{format_bytes(device.free_least)} to {format_bytes(device.free_most)}",
    )
    yield "cache of the requests", format_bytes(device.cache_bytes), ""


def answer_lines(fit: Fit) -> Iterator[tuple[str, str]]:
    """How far it goes."""
    request = fit.request
    yield (
        f"longest context for a batch of {request.batch_size}",
        _longest(fit),
    )
    requests = "request" if fit.largest_batch == 1 else "requests"
    largest = "any" if fit.largest_batch >= LONGEST else f"{fit.largest_batch:,} {requests}"
    yield (
        f"largest batch at {format_tokens(request.context_tokens)} tokens",
        largest if fit.largest_batch else "none",
    )
    yield "fewest devices that hold the request", _layout(fit)


def _longest(fit: Fit) -> str:
    if not fit.longest_context:
        return "none"
    whole = " (the model's longest)" if fit.longest_context == fit.model_context else ""
    return f"{fit.longest_context:,} tokens{whole}"


def _layout(fit: Fit) -> str:
    if fit.fewest is None:
        return "more than 64"
    return f"{fit.fewest.devices} ({fit.fewest})"


def all_rows(fits: list[Fit]) -> Iterator[tuple[str, ...]]:
    """One row per accelerator, for the request on one device of it."""
    for fit in fits:
        memory = format_bytes(fit.device.bytes) + ("" if fit.device.measured else " nominal")
        largest = "any" if fit.largest_batch >= LONGEST else f"{fit.largest_batch:,}"
        yield (
            fit.device.name,
            memory,
            fit.verdict,
            f"{fit.longest_context:,}" if fit.longest_context else "",
            largest if fit.largest_batch else "",
            _layout(fit),
        )
