"""What a model does on the usual machines: the widest format that fits each, and how far it goes."""

from collections.abc import Iterator

from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.choice import Choice, Way, choose
from kvcalc.deployment.hardware import Accelerator, find
from kvcalc.deployment.planner import Planner
from kvcalc.errors import KvcalcError
from kvcalc.report.cells import Bytes, Cell, Toned
from kvcalc.report.sheet import Column, Line, Row, Sheet, Table, table
from kvcalc.site.subject import Subject
from kvcalc.units import format_bytes, format_tokens

# Servers run vLLM; people at home llama.cpp's files, on a Mac mlx's.
SERVERS = (
    "rtx-4090",
    "rtx-5090",
    "l40s",
    "a100-80gb",
    "h100-80gb",
    "h200",
    "b200",
    "b300",
    "mi300x",
)
HOME = ("rtx-3060-12gb", "rtx-4060-ti-16gb", "rx-7900-xtx", "rtx-4090", "rtx-5090",
        "strix-halo-128gb", "m4-pro-48gb", "m4-max-128gb")  # fmt: skip


def sheet(subject: Subject) -> Sheet:
    """One table for servers, one for machines at home."""
    planner = Planner(subject.spec)
    workload = subject.estimate.workload
    at = f"{format_tokens(workload.context_tokens)} tokens x {workload.num_sequences}"
    heading = f"Answered for {at}; the widest format of the weights that fits one device."
    return Sheet("", "", (
        Line(heading),
        _table("server, vLLM", "as published, on so many", _servers(subject, planner)),
        _table("at home, llama.cpp or mlx", "why not", _home(subject, planner)),
    ))  # fmt: skip


def _table(title: str, last: str, rows: Iterator[Row]) -> Table:
    columns = (
        Column(title), Column("memory"), Column("weights in"), Column("weights"),
        Column("longest context", right=True), Column("most at once", right=True), Column(last, wraps=True),
    )  # fmt: skip
    return table("", columns, rows)


def _servers(subject: Subject, planner: Planner) -> Iterator[Row]:
    for device in map(find, SERVERS):
        request = FitRequest(workload=subject.estimate.workload)
        choice = choose(device, [(subject.name, planner, request)], None, every=False)[0]
        last = _fewest(planner, device, request) if not choice.reason else ""
        yield _row(device, choice, last, _refusal(subject, request))


def _home(subject: Subject, planner: Planner) -> Iterator[Row]:
    for device in map(find, HOME):
        engine = "mlx" if device.vendor == "Apple" else "llama.cpp"
        request = FitRequest(workload=subject.estimate.workload, engine=engine)
        choice = choose(device, [(subject.name, planner, request)], None, every=False)[0]
        yield _row(device, choice, "", _refusal(subject, request))


def _refusal(subject: Subject, request: FitRequest) -> str:
    """Why the engine does not hold the model's cache, on however large a device."""
    rows = (row for row in subject.engines if row.engine == request.engine)
    return next((row.refusal for row in rows if row.refusal), "")


def _row(device: Accelerator, choice: Choice, last: str, refusal: str) -> Row:
    """last: what stands behind an answer; where there is none, by how much it does not fit, or why."""
    about: tuple[Cell, ...] = (device.name, Bytes(device.bytes))
    best = choice.best
    if choice.reason or (best is None and refusal):
        return Row((*about, Toned("-", "faint"), None, None, None, choice.reason or refusal))
    if best is None:
        least = choice.ways[-1]
        over = (
            f"{format_bytes(least.weights_bytes)} in {_name(least)}" if least.weights_bytes else ""
        )
        return Row((*about, "does not fit", None, None, None, last or over))
    tight = " (tight)" if best.verdict == "tight" else ""
    weights = None if best.weights_bytes is None else Bytes(best.weights_bytes)
    far = (_number(best.longest_context), _number(best.largest_batch))
    return Row((*about, _name(best) + tight, weights, *far, last))


def _name(way: Way) -> str:
    return "as published" if way.dtype == "checkpoint" else way.dtype


def _number(count: int | None) -> str:
    return "any" if count is None else f"{count:,}"


def _fewest(planner: Planner, device: Accelerator, request: FitRequest) -> str:
    """On how many such devices the model runs in the format that it comes in."""
    try:
        found = planner.fewest(planner.on(device, request))
    except KvcalcError:
        return ""
    if found is None:
        return "more than 64"
    layout = found.request.layout
    ways = ((layout.tensor, "TP"), (layout.pipeline, "PP"))
    said = " x ".join(f"{word} {count}" for count, word in ways if count > 1)
    return f"{layout.devices}{said and f' ({said})'}"
