"""The device that a name means: this machine's own, or one of the catalogue."""

from kvcalc.deployment import catalogue as known
from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.catalogue import catalogue, device_names, of_size

__all__ = ["Accelerator", "catalogue", "device_names", "find", "of_size"]


def find(name: str) -> Accelerator:
    """A device by its exact name or an alias, however it is spelt; ``this`` asks the machine.

    A system may stand behind it (``rtx-4070-windows``); ``ram-64gb`` is plain memory. Raises
    NotFoundError or UsageError naming what it may be, with the memory of each.
    """
    if name.strip().lower().split(":")[0] == "this":
        from kvcalc.deployment.this_machine import this_device

        return this_device(name.strip().lower())
    return known.find(name)
