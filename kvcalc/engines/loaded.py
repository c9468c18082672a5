"""Weights as an engine's own model classes allocate them, rank by rank, held against the checkpoint.

An engine says of each row of the ledger (kvcalc/memory/ledger.py) what one rank allocates for it, in
steps with a reason each; here the steps are summed. On every layout

    bytes of the checkpoint + bytes of all reasons = bytes of all devices

so nothing that is loaded otherwise than it is stored goes unnamed.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from kvcalc.frozen import frozen
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import Row
from kvcalc.memory.stages import pipeline_stages
from kvcalc.memory.weights import ledger
from kvcalc.spec.layers import Layer, decoder_layers
from kvcalc.spec.model import ModelSpec

WHOLE = "whole on every rank"
SHARED_HEADS = "KV heads and groups that ranks share"
STAGES = "on several stages"
UNEVEN = "cut blocks and rounding"


@frozen
class Held:
    """What one rank allocates for one layer's tensor of a row.

    steps: (reason, bytes) in order; the last is what stands there. The first is the rank's share of
    the checkpoint's tensor. stored: False for a tensor that the checkpoint does not have.
    """

    row: Row
    steps: tuple[tuple[str, int], ...]
    stored: bool = True

    @property
    def bytes(self) -> int:
        return self.steps[-1][1]


class Classes(Protocol):
    """An engine's model classes for one spec, in one format, on one kind of GPU."""

    known: "dict[Layout, Loaded]"
    """What was asked of them so far."""

    def held(self, ranks: int) -> Iterable[Held]:
        """Every tensor. Raises UnsupportedError for what the class refuses."""

    def after(self, ranks: int) -> Iterable[Held]:
        """What the engine makes of the tensors once they are loaded, and keeps beside them."""

    def buffers(self, layers: Sequence[int], ends: tuple[bool, bool]) -> int | None:
        """Bytes of buffers of a rank that has these decoder layers, whatever the tensor ranks.

        ends: whether it is the first, the last stage. None where that is not known.
        """

    @property
    def why(self) -> dict[str, str]:
        """A sentence for each reason."""

    @property
    def notes(self) -> tuple[str, ...]: ...


@frozen
class Reason:
    """Why what is loaded differs from what is stored, and by how much on all devices together."""

    name: str
    bytes: int
    why: str


@frozen
class Loaded:
    """checkpoint_bytes: as stored, one replica. bytes_per_device: parameters, pipeline rank by
    pipeline rank, tensor ranks within it. buffer_bytes_per_device: tables and scales beside them;
    None where the tables are not known. after: what is made of the parameters once they are loaded and
    kept beside them, on all devices; after_bytes_per_device: on each."""

    checkpoint_bytes: int
    bytes_per_device: tuple[int, ...]
    buffer_bytes_per_device: tuple[int, ...] | None
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()
    after: tuple[Reason, ...] = ()
    after_bytes_per_device: tuple[int, ...] = ()

    def fullest_of_stages(self, tensor: int) -> list[int]:
        """Parameters, known buffers and what is made of them on a device of each pipeline stage."""
        none = (0,) * len(self.bytes_per_device)
        parts = (self.bytes_per_device, self.buffer_bytes_per_device or none,
                 self.after_bytes_per_device or none)  # fmt: skip
        return [sum(each) for each in zip(*parts, strict=True)][::tensor]


def load(spec: ModelSpec, dtype: str, layout: Layout, classes: Classes) -> Loaded:
    """What the devices of one replica hold. Raises UnsupportedError as ``Classes.held`` does."""
    if layout not in classes.known:
        classes.known[layout] = _load(spec, dtype, layout, classes)
    return classes.known[layout]


def _load(spec: ModelSpec, dtype: str, layout: Layout, classes: Classes) -> Loaded:
    layers = decoder_layers(spec)
    stages = pipeline_stages(len(layers), layout.pipeline)
    totals, reasons = [0] * len(stages), dict[str, int]()
    table = ledger(spec, dtype).tied if len(stages) > 1 else None
    for held in classes.held(layout.tensor):
        counts = _placed(held.row, layers, stages)
        again = table is not None and held.row.weight == table.weight
        for stage, count in enumerate(counts):
            totals[stage] += held.bytes * count
        if again:
            totals[-1] += held.bytes
        _explain(held, sum(counts), again, layout.tensor, reasons)
    first, last = 0, len(stages) - 1
    buffers = [
        classes.buffers(stage, (rank == first, rank == last)) for rank, stage in enumerate(stages)
    ]
    known = [each for each in buffers if each is not None]
    made, later = [0] * len(stages), dict[str, int]()
    for held in classes.after(layout.tensor):
        name = held.steps[-1][0]
        for stage, count in enumerate(_placed(held.row, layers, stages)):
            made[stage] += held.bytes * count
            later[name] = later.get(name, 0) + held.bytes * count * layout.tensor
    each_rank = range(layout.tensor)
    return Loaded(
        checkpoint_bytes=ledger(spec, dtype).bytes,
        bytes_per_device=tuple(total for total in totals for _ in each_rank),
        buffer_bytes_per_device=tuple(size for size in known for _ in each_rank)
        if len(known) == len(buffers)
        else None,
        reasons=tuple(
            Reason(name, size, classes.why.get(name, _WHY.get(name, "")))
            for name, size in sorted(reasons.items(), key=lambda each: -abs(each[1]))
            if size
        ),
        notes=classes.notes,
        after=tuple(Reason(name, size, classes.why[name]) for name, size in later.items()),
        after_bytes_per_device=tuple(size for size in made for _ in each_rank) if later else (),
    )


_WHY = {
    WHOLE: "norms, biases and other tensors that tensor parallelism does not cut",
    SHARED_HEADS: "more ranks than there are, so each rank has a copy",
    STAGES: "used by layers of several pipeline stages, or the tied table that is the head as well",
    UNEVEN: "a rank's share is stored in whole blocks, tiles and words",
}


def _explain(held: Held, count: int, again: bool, ranks: int, reasons: dict[str, int]) -> None:
    """Add what one row's steps add on all devices."""
    own, stored = held.row.count, held.row.bytes if held.stored else 0
    name, before = held.steps[0]
    found = reasons
    found[name] = found.get(name, 0) + ranks * before * own - stored
    for name, after in held.steps[1:]:
        found[name] = found.get(name, 0) + ranks * own * (after - before)
        before = after
    extra = count + again - own
    if extra:
        found[STAGES] = found.get(STAGES, 0) + ranks * extra * before


def _placed(row: Row, layers: tuple[Layer, ...], stages: Sequence[range]) -> list[int]:
    """How many of the row's tensors stand on each stage, as ``Ledger.stage_bytes`` places them."""
    counts = [0] * len(stages)
    if row.place == "first":
        counts[0] = row.count
    elif row.place == "last":
        counts[-1] = row.count
    elif (beside := row.weight.group.beside) is not None:
        counts[next(i for i, stage in enumerate(stages) if beside in stage)] = 1
    else:
        for rank, stage in enumerate(stages):
            used = {layers[index].weights for index in stage} | {*stage}
            counts[rank] = len(used.intersection(row.layers))
    return counts
