"""``--gpu`` of a command that asks which kernels run: one GPU, or the equal ones of a server."""

from collections.abc import Sequence

from kvcalc.deployment.accelerator import Accelerator
from kvcalc.errors import UsageError


def equal_gpus(gpus: Sequence[str] | None, ranks: int) -> Accelerator | None:
    """One of the devices that --gpu lists, which are alike: as many as the ranks, or named once.

    Raises UsageError for different ones, and for another number of them.
    """
    if not gpus:
        return None
    from kvcalc.deployment.hardware import find

    found = [find(name) for name in gpus]
    if len({each.sm for each in found}) > 1:
        raise UsageError(
            f"--gpu {' --gpu '.join(gpus)}: ranks of one server run the same kernels, and these GPUs "
            "have different compute capabilities"
        )
    if len(found) not in (1, ranks):
        raise UsageError(
            f"{len(found)} GPUs for {ranks} rank{'s' if ranks != 1 else ''}: --tp and --pp say how "
            "many there are"
        )
    return found[0]
