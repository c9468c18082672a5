"""The GPU that a log names, as the catalogue knows it: its kernels decide formats."""

import re

from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.catalogue import catalogue, find
from kvcalc.errors import KvcalcError
from kvcalc.logs.facts import Start
from kvcalc.names import parts


def device_of(start: Start) -> Accelerator | None:
    """The device, None where the log names none or one that the catalogue has not, or has twice."""
    if start.gpu is None:
        return None
    said = str(start.gpu.value)
    if start.gpu.line == 0:
        return find(said)
    name = re.sub(
        r"\b(?:nvidia|geforce|amd|instinct|tesla|hbm3e?|hbm2e?|pcie|sxm\d?|nvl|graphics)\b",
        " ",
        said.lower(),
    )
    tried = "-".join(re.findall(r"[a-z0-9]+", name))
    for each in (tried, said):
        try:
            return find(each)
        except KvcalcError:
            continue
    wanted = parts(tried)
    same = [device for device in catalogue() if parts(device.name)[: len(wanted)] == wanted]
    return same[0] if len({device.sm for device in same}) == 1 and len(same) == 1 else None
