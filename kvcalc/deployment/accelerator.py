"""A device that holds weights and a cache."""

from kvcalc.frozen import frozen


@frozen
class Accelerator:
    """One device.

    bytes: memory that a program sees, or the vendor's figure where ``measured`` is false.
    least, most: what the printed figure may have been rounded from. sm: the compute capability, 90
    for 9.0; 0 where it is no NVIDIA GPU, None where it is not known. kind: of memory, such as GDDR6X.
    unified: whether the CPU shares it. system: whose figure ``bytes`` is; systems: all that are known.
    free: what nothing else holds just now, where the machine was asked.
    """

    name: str
    vendor: str
    bytes: int
    least: int
    most: int
    measured: bool
    nominal: str
    source: str
    aliases: tuple[str, ...] = ()
    note: str = ""
    sm: int | None = None
    kind: str = ""
    unified: bool = False
    system: str = ""
    systems: tuple[tuple[str, int], ...] = ()
    free: int | None = None
