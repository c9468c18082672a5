"""The catalogue of accelerators: hardware.yaml, looked up by name or alias."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import yaml

from kvcalc.errors import NotFoundError, UsageError
from kvcalc.units import parse_bytes

_FILE = Path(__file__).with_name("hardware.yaml")


@dataclass(frozen=True)
class Accelerator:
    """One device.

    bytes: memory that a program sees, or the vendor's figure where ``measured`` is false.
    least, most: what the printed figure may have been rounded from. sm: the compute capability, 90
    for 9.0; 0 where it is no NVIDIA GPU, None where it is not known.
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


def _size(text: str) -> tuple[int, int, int]:
    """Bytes of a printed size, and the range that it may have been rounded from."""
    num_bytes = parse_bytes(text)
    _, point, rest = text.partition(".")
    if not point:
        return num_bytes, num_bytes, num_bytes
    digits = rest.rstrip("KMGTiBkmgtb ")
    half = parse_bytes(f"1{rest[len(digits) :]}") // (2 * 10 ** len(digits))
    return num_bytes, num_bytes - half, num_bytes + half


@lru_cache(maxsize=1)
def catalogue() -> tuple[Accelerator, ...]:
    """Every device of hardware.yaml, in its order."""
    rows = yaml.load(_FILE.read_text("utf-8"), Loader=yaml.SafeLoader)
    found = []
    for row in rows:
        usable = row.get("usable")
        num_bytes, least, most = _size(usable or row["nominal"])
        if usable is None:
            least = most = num_bytes
        found.append(
            Accelerator(
                name=row["name"],
                vendor=row["vendor"],
                bytes=num_bytes,
                least=least,
                most=most,
                measured=usable is not None,
                nominal=row["nominal"],
                source=row["source"],
                aliases=tuple(row.get("aliases", ())),
                note=row.get("note", ""),
                sm=row.get("sm", 0),
            )
        )
    return tuple(found)


_MAKERS = ("nvidia-", "amd-", "geforce-", "tesla-")


def _folded(name: str) -> str:
    folded = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    for maker in _MAKERS:
        folded = folded.removeprefix(maker)
    return folded


def _runs(name: str) -> set[str]:
    """Every run of a name's words, written together: ``4090`` and ``rtx4090`` of ``rtx-4090``."""
    words = name.split("-")
    ends = range(1, len(words) + 1)
    return {"".join(words[start:end]) for end in ends for start in range(end)}


def find(name: str) -> Accelerator:
    """A device by its name, an alias, or words of them that no other device has.

    Raises NotFoundError naming the nearest, and UsageError naming those that it may be.
    """
    folded = _folded(name)
    names = {alias: device for device in catalogue() for alias in (device.name, *device.aliases)}
    if folded in names:
        return names[folded]
    together = folded.replace("-", "")
    whole = {device.name: device for alias, device in names.items()
             if alias.replace("-", "") == together}  # fmt: skip
    meant = whole or {device.name: device for alias, device in names.items()
                      if together in _runs(alias)}  # fmt: skip
    if len(meant) == 1:
        return next(iter(meant.values()))
    if meant:
        raise UsageError(f"--gpu {name} may be {', '.join(meant)}: say which")
    near = get_close_matches(folded, names, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "'kvcalc fit MODEL --gpus all' lists them"
    )
    raise NotFoundError(f"no accelerator '{name}' ({hint}); --gpu-memory 80GiB does without one")


def of_size(text: str) -> Accelerator:
    """A device that is not in the catalogue, by its memory. Raises UsageError."""
    try:
        num_bytes, least, most = _size(text)
    except ValueError as error:
        raise UsageError(f"--gpu-memory: {error}") from None
    return Accelerator(text, "", num_bytes, least, most, True, text, "--gpu-memory")
