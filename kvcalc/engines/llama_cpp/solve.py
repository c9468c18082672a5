"""Which placement to run: the one from which a token reads the fewest bytes of RAM, that fits.

In this order: everything on the devices; the experts of the first layers in RAM, as few layers as
will do (only some of an expert layer's weights are read for a token); then whole layers in RAM.
Layers go to the devices by their free memory, as llama.cpp deals them; where that overflows one of
several devices, by numbers of layers of their own.
"""

from collections.abc import Iterator

from kvcalc.engines.llama_cpp.file import EXPERTS
from kvcalc.engines.llama_cpp.memory import Loaded, Machine, Table
from kvcalc.engines.llama_cpp.placement import HOST, Place
from kvcalc.engines.llama_cpp.placing import Placing
from kvcalc.frozen import changed, frozen
from kvcalc.units import MIB

# Kept free where the compute buffer has no upper bound: what llama.cpp's own --fit keeps.
_UNKNOWN = 1024 * MIB


@frozen(kw_only=True)
class Solved:
    """A placement and its table. verdict: at both ends of the bands, at the lower one, at none."""

    placing: Placing
    table: Table
    verdict: str


def verdict_of(table: Table) -> str:
    if table.holds(True):
        return "fits" if table.predicted else "tight"
    return "tight" if table.holds(False) else "does not fit"


def as_asked(loaded: Loaded, machine: Machine, placing: Placing) -> Solved:
    """The placement that the flags say."""
    table = loaded.table(machine, placing)
    return Solved(placing=placing, table=table, verdict=verdict_of(table))


def solve(loaded: Loaded, machine: Machine, asked: Placing, free: frozenset[str]) -> Solved:
    """The best placement. asked: what the flags say. free: of ``layers``, ``experts`` and ``shares``,
    those that the flags leave open.

    What fits nowhere is answered with as little on the devices as there can be.
    """
    candidates = list(_candidates(loaded, asked, free))
    if not machine.devices or _too_large(loaded, machine):
        # Without a device they are all one placement, and what is too large fits in none.
        candidates = list(dict.fromkeys((candidates[0], candidates[-1])))
    last: Solved | None = None
    for placing in candidates:
        for dealt in _dealt(loaded, machine, placing, free):
            last = as_asked(loaded, machine, dealt)
            if _holds(last.table):
                return last
    assert last is not None
    return last


def _too_large(loaded: Loaded, machine: Machine) -> bool:
    """Whether the weights alone are more than all memory there is, so that no placement holds."""
    rooms = [machine.ram, *(device.bytes or None for device in machine.devices)]
    sizes = [room for room in rooms if room is not None]
    return len(sizes) == len(rooms) and loaded.file.bytes > sum(sizes)


def _holds(table: Table) -> bool:
    """Whether the devices hold it at the upper end, and RAM at the lower (a prompt cache can shrink)."""
    *devices, host = table.uses
    for use in devices:
        spare = 0 if use.bounded or not (use.layers or use.beside) else _UNKNOWN
        if use.memory is not None and use.taken(True) + spare > use.memory:
            return False
    return host.holds(False)


def _candidates(loaded: Loaded, asked: Placing, free: frozenset[str]) -> Iterator[Placing]:
    """Placements, the fewest bytes in RAM first."""
    most = loaded.file.num_layers + 1
    expert_layers = [
        tensor.layer or 0 for tensor in loaded.file.tensors if EXPERTS.search(tensor.name)
    ]
    yield asked
    if "experts" in free and expert_layers:
        for number in range(min(expert_layers) + 1, max(expert_layers) + 2):
            yield changed(asked, num_cpu_moe=number)
        asked = changed(asked, num_cpu_moe=None)
    if "layers" in free:
        for number in range(most - 1, -1, -1):
            yield changed(asked, num_gpu_layers=number)


def _dealt(
    loaded: Loaded, machine: Machine, placing: Placing, free: frozenset[str]
) -> Iterator[Placing]:
    """As llama.cpp deals the layers, then device by device, each with as many as it holds."""
    yield placing
    if "shares" not in free or len(machine.devices) < 2:
        return
    shares = _filled(loaded, machine, placing)
    if shares is not None:
        yield changed(placing, shares=shares)


def _filled(loaded: Loaded, machine: Machine, placing: Placing) -> tuple[float, ...] | None:
    """Layers of each device when one is filled after the other; None where they do not hold all."""
    table = loaded.table(machine, placing)
    costs: dict[int, int] = {}
    num_layers = len(table.placement.layers) - 1
    for bundle, at in table.placement.bundles:
        if at is HOST or bundle.part == "every":
            continue
        layer = num_layers if bundle.part == "output" else bundle.layer or 0
        costs[layer] = costs.get(layer, 0) + sum(tensor.bytes for tensor in bundle.tensors)
    offloaded = [layer for layer, at in enumerate(table.placement.layers) if at is not HOST]
    for layer in offloaded:
        if placing.offload_cache:
            costs[layer] = costs.get(layer, 0) + loaded.layer_caches.get(layer, 0)
    rooms = [_room(table, number) for number in range(len(machine.devices))]
    counts, at = [0] * len(rooms), 0
    for layer in offloaded:
        while at < len(rooms) and costs.get(layer, 0) > rooms[at]:
            at += 1
        if at == len(rooms):
            return None
        rooms[at] -= costs.get(layer, 0)
        counts[at] += 1
    return tuple(float(count) for count in counts)


def _room(table: Table, number: Place) -> int:
    """What a device has for weights and caches."""
    assert number is not None
    use = table.uses[number]
    assert use.memory is not None
    bands = [use.compute, *(other.compute for other in table.uses[:-1] if other.layers)]
    compute = max(band.most if band.most is not None else band.least + _UNKNOWN for band in bands)
    outside = max(each.outside.most or 0 for each in table.uses)
    beside = sum(each.taken(most=True) for each in use.beside)
    return use.memory - use.reserve - beside - compute - outside - MIB
