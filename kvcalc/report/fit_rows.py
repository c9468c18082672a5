"""The lines of a fit answer, shared by the table and the markdown."""

from collections.abc import Iterator

from kvcalc.deployment.fit import LONGEST, Device, Fit, step_of
from kvcalc.deployment.overhead import CARRIED_OVER
from kvcalc.units import format_bytes, format_tokens

ALL_HEADERS = (
    "accelerator", "memory", "one device", "longest context", "largest batch", "fewest devices",
)  # fmt: skip


def device_headers(fit: Fit) -> tuple[str, str, str]:
    """Whose band it is stands above it."""
    return "on one device of each stage", "bytes", "measured band" if fit.measured else CARRIED_OVER


def headline(fit: Fit) -> str:
    """One sentence: what was asked, and the verdict."""
    request, asked = fit.request, fit.request.workload
    encoder = f" and {asked.encoder_tokens:,} of the encoder" if asked.encoder_tokens else ""
    each = f"{format_tokens(asked.context_tokens)} tokens{encoder} x {asked.batch_size}"
    devices = request.layout.devices
    return (
        f"{each} in {asked.cache.kv_name}, weights in {asked.dtype}, on {devices} x "
        f"{fit.device.name} ({request.layout}){by_engine(fit)}: {fit.verdict}"
    )


def by_engine(fit: Fit) -> str:
    """``, vLLM 0.33.0``: whose pages are counted; nothing for the logical need."""
    return "" if fit.version is None else f", {fit.request.engine_words} {fit.version}"


def device_rows(fit: Fit, device: Device) -> Iterator[tuple[str, str, str]]:
    """What one device's memory goes to."""
    request = fit.request
    share = f"x {float(request.utilization):g} that the engine may use"
    of_free = request.engine == "tensorrt-llm"
    yield "memory", format_bytes(fit.device.bytes), ""
    if not of_free:
        yield share, format_bytes(fit.budget), ""
    yield "weights", format_bytes(device.weight_bytes), ""
    for item in device.overheads:
        yield item.name, format_bytes(item.bytes), _between(item.least, item.most)
    yield (
        "free" if of_free else "left for the cache",
        format_bytes(device.free),
        _between(device.free_least, device.free_most),
    )
    if of_free:
        yield share, format_bytes(int(device.free * request.utilization)), ""
    yield "logical need of the requests", format_bytes(device.cache_bytes), ""
    if fit.version is not None:
        yield (
            f"reserved by {request.engine_words}",
            format_bytes(device.reserved_bytes),
            _why(device),
        )


def _between(least: int, most: int) -> str:
    return f"{format_bytes(least)} to {format_bytes(most)}"


def _why(device: Device) -> str:
    """What the engine takes beyond the need: the two largest causes, and the rest."""
    causes = [(item.cause, item.bytes) for item in device.waste]
    if len(causes) > 2:
        causes = [*causes[:2], ("other", sum(num_bytes for _, num_bytes in causes[2:]))]
    return ", ".join(
        f"{'+' if num_bytes > 0 else '-'} {format_bytes(abs(num_bytes))} {cause}"
        for cause, num_bytes in causes
        if num_bytes
    )


def answer_lines(fit: Fit) -> Iterator[tuple[str, str]]:
    """How far it goes; beside it what holds at the lower end of the band."""
    request = fit.request
    yield f"longest context for a batch of {request.workload.batch_size}", _longest(fit)
    yield f"largest batch at {format_tokens(request.workload.context_tokens)} tokens", _largest(fit)
    yield "fewest devices that hold the request", _layout(fit)


def _longest(fit: Fit) -> str:
    if not fit.longest_context:
        return "none"
    tokens, least, own = fit.longest_context, fit.longest_context_least, fit.model_context
    if own is not None and tokens >= own:
        whose = " (the model's longest)" if tokens == own else f" (made for at most {own:,})"
    else:
        whose = ""
    low = "" if least == tokens else f"; {_or_none(least)} at the band's lower end"
    encoder = fit.request.workload.encoder_tokens
    beside = f" beside {encoder:,} of the encoder" if encoder else ""
    return f"{tokens:,} tokens{beside}{whose}{low}"


def _largest(fit: Fit) -> str:
    number, least = fit.largest_batch, fit.largest_batch_least
    if number >= LONGEST:
        return "any"
    if not number:
        return "none"
    low = "" if least == number else f"; {_or_none(least)} at the band's lower end"
    usual = step_of(fit.device, fit.request.of(batch_size=1)).requests
    more = -(-number // fit.request.layout.data)
    flag = f" with --max-num-seqs {more}" if fit.request.engine == "vllm" and more > usual else ""
    return f"{number:,} {'request' if number == 1 else 'requests'}{flag}{low}"


def _or_none(number: int) -> str:
    return f"{number:,}" if number else "none"


def _layout(fit: Fit) -> str:
    if fit.fewest is None:
        return "more than 64"
    tight = ", tight" if fit.fewest_verdict == "tight" else ""
    return f"{fit.fewest.devices} ({fit.fewest}{tight})"


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


def shared_notes(fits: list[Fit]) -> list[str]:
    """The notes that hold on every accelerator."""
    return [note for note in fits[0].notes if all(note in fit.notes for fit in fits)]
