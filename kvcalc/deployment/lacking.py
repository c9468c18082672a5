"""What a device lacks for a model of which no format fits, and the smallest of its kind that has it."""

from collections.abc import Iterator

from kvcalc.deployment.choice import Asked, Choice, Way, way_of
from kvcalc.deployment.hardware import Accelerator, catalogue
from kvcalc.errors import KvcalcError
from kvcalc.units import format_bytes


def lacking(device: Accelerator, asked: Asked, choice: Choice) -> Iterator[str]:
    """By how much the narrowest format does not fit, and a command on a device on which it does.

    The devices that are tried have the same maker and the same kind of memory, the smallest first.
    Nothing is said where a format fits or where only whole devices' worth of weights was compared.
    """
    if choice.best is not None or not choice.ways:
        return
    way = choice.ways[-1]
    _, planner, request = asked
    if way.weights_bytes is None:
        return
    # llama.cpp takes no share of a device: what it sees is what it fills.
    own = device.bytes if request.record.placed else planner.budget(device, request)
    gives = request.layout.devices * own
    said = "the checkpoint" if way.dtype == "checkpoint" else way.dtype
    if len(choice.ways) > 1:
        said += ", the narrowest,"
    over = way.weights_bytes - gives
    if over > 0:
        yield (
            f"{said} takes {format_bytes(way.weights_bytes)} of weights alone, {format_bytes(over)} "
            f"more than the {format_bytes(gives)} that a program may use"
        )
    else:
        yield (
            f"{said} leaves {format_bytes(-over)} of the {format_bytes(gives)} that a program may "
            "use, less than the caches and what lies beside them take"
        )
    held = _held(device, asked, way)
    if held is not None:
        yield f"the smallest of the catalogue's {device.vendor} devices that holds it: {held.command}"


def _held(device: Accelerator, asked: Asked, way: Way) -> Way | None:
    """The same question on the smallest device that is like this one, but has more memory."""
    name, planner, request = asked
    larger = (
        each
        for each in catalogue()
        if each.vendor == device.vendor
        and each.unified == device.unified
        and each.bytes > device.bytes
    )
    for each in sorted(larger, key=lambda one: (one.bytes, one.name)):
        try:
            found = way_of(each, name, planner, request.of(dtype=way.dtype), every=True)
        except KvcalcError:
            continue
        if found.holds:
            return found
    return None
