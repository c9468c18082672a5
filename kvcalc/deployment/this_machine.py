"""``--gpu this``: what accelerator this machine has, and how much of it is free, asked of its own tools.

Linux and Windows: nvidia-smi, then rocm-smi (Linux). macOS: sysctl, whose chip and memory name an entry
of apple.yaml, unless iogpu.wired_limit_mb is set, which then is the limit. Without an accelerator the
memory of the machine itself is the device (/proc/meminfo, sysctl, wmic). Only totals that a tool
prints count; nothing is guessed from a name.

The totals of nvidia-smi are what the driver manages (MiB); CUDA shows a little less of it on Linux.
"""

import json
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.catalogue import find
from kvcalc.errors import KvcalcError, NotFoundError, UsageError
from kvcalc.frozen import changed
from kvcalc.units import MIB

# A tool that hangs (a driver that does not answer) does not hang us.
_TIMEOUT_SECONDS = 10

# The text of a command, or None where there is no such command or it fails.
Ask = Callable[[list[str]], str | None]

_QUERY = "--query-gpu=name,memory.total,memory.free,compute_cap"
_NVIDIA = ["nvidia-smi", _QUERY, "--format=csv,noheader,nounits"]
_ROCM = ["rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json"]
_SYSCTL = ["sysctl", "-n"]


def this_device(name: str = "this") -> Accelerator:
    """The machine's accelerator; ``this:1`` the second of several. Raises UsageError, NotFoundError."""
    return chosen(name, devices(platform.system(), ask, _meminfo))


def chosen(name: str, found: list[Accelerator]) -> Accelerator:
    """One of the devices that were found: all alike is one, ``this:1`` says which."""
    _, _, which = name.partition(":")
    if which:
        if not which.isdecimal() or int(which) >= len(found):
            raise UsageError(f"--gpu {name}: this machine has {_counted(found)}")
        return found[int(which)]
    if len({device.name for device in found}) > 1:
        raise UsageError(f"--gpu this: this machine has {_counted(found)}: say which")
    return found[0]


def _counted(found: list[Accelerator]) -> str:
    return ", ".join(f"this:{index} ({device.name})" for index, device in enumerate(found))


def devices(system: str, ask: Ask, meminfo: Callable[[], str]) -> list[Accelerator]:
    """What this machine's own tools list; its plain memory where they list nothing.

    system: as ``platform.system`` calls it. Raises NotFoundError where nothing answers.
    """
    if system == "Darwin":
        found = _apple(ask)
    else:
        shown = "windows" if system == "Windows" else "linux"
        found = nvidia(ask(_NVIDIA) or "", shown)
        if not found and system == "Linux":
            found = rocm(ask(_ROCM) or "")
        if not found:
            found = _memory(system, ask, meminfo)
    if not found:
        raise NotFoundError(
            "--gpu this: neither nvidia-smi, rocm-smi nor the system says what this machine has; "
            "give --gpu NAME or --gpu-memory SIZE"
        )
    return found


def nvidia(text: str, system: str) -> list[Accelerator]:
    """The lines of nvidia-smi's query: name, total and free MiB, compute capability."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4 or not cells[1].isdecimal():
            continue
        free = int(cells[2]) * MIB if cells[2].isdecimal() else None
        major, _, minor = cells[3].partition(".")
        sm = int(major) * 10 + int(minor) if major.isdecimal() and minor.isdecimal() else None
        found.append(_seen(cells[0], "NVIDIA", int(cells[1]) * MIB, free, system, "nvidia-smi", sm))
    return found


def rocm(text: str) -> list[Accelerator]:
    """rocm-smi's JSON: a card's name, its VRAM in bytes and what of it is used."""
    try:
        cards = json.loads(text) if text else {}
    except ValueError:
        return []
    found = []
    for key, card in sorted(cards.items()) if isinstance(cards, dict) else ():
        if not key.startswith("card") or not isinstance(card, dict):
            continue
        total = str(card.get("VRAM Total Memory (B)", ""))
        used = str(card.get("VRAM Total Used Memory (B)", ""))
        if total.isdecimal():
            name = str(card.get("Card Series") or card.get("Card series") or key)
            free = int(total) - int(used) if used.isdecimal() else None
            found.append(_seen(name, "AMD", int(total), free, "linux", "rocm-smi", 0))
    return found


def _seen(
    name: str, vendor: str, total: int, free: int | None, system: str, tool: str, sm: int | None
) -> Accelerator:
    """A device with the total that its tool printed, and what the catalogue knows of the product.

    The product is the catalogue's only where its memory is: a name alone may stand for several.
    """
    known = None
    for spelling in (name, f"{name} {-(-total // (1 << 30))}gb"):
        try:
            known = find(spelling)
            break
        except KvcalcError:
            continue
    note = f"{tool} prints {total // MIB:,} MiB"
    if free is not None:
        note += f", {free // MIB:,} MiB of it free"
    if known is None or known.vendor != vendor:
        folded = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or vendor.lower()
        return Accelerator(folded, vendor, total, total, total, True, f"{total // MIB}MiB", tool,
                           note=note, sm=sm, system=system, free=free)  # fmt: skip
    return changed(known, bytes=total, least=total, most=total, measured=True, source=tool, note=note,
                   sm=sm if sm is not None else known.sm, system=system, free=free)  # fmt: skip


def _apple(ask: Ask) -> list[Accelerator]:
    """A Mac by its chip and memory; an Intel Mac has its plain memory."""
    chip = (ask([*_SYSCTL, "machdep.cpu.brand_string"]) or "").strip()
    total = (ask([*_SYSCTL, "hw.memsize"]) or "").strip()
    if not total.isdecimal():
        return []
    size = int(total)
    if not chip.startswith("Apple "):
        return [_plain(size, None, "sysctl")]
    release = (ask(["sw_vers", "-productVersion"]) or "").strip().split(".")[0]
    wired = (ask([*_SYSCTL, "iogpu.wired_limit_mb"]) or "").strip()
    suffix = " older macos" if release.isdecimal() and int(release) < 26 else ""
    name = f"{chip} {size >> 30}gb"
    try:
        known = find(name + suffix)
    except KvcalcError:
        known = find(name)
    if wired.isdecimal() and int(wired):
        limit = int(wired) * MIB
        return [changed(known, bytes=limit, least=limit, most=limit, measured=True, source="sysctl",
                        note=f"iogpu.wired_limit_mb is {wired}: so much may the GPU wire")]  # fmt: skip
    return [known]


def _memory(system: str, ask: Ask, meminfo: Callable[[], str]) -> list[Accelerator]:
    """The plain memory of a machine without an accelerator that a tool lists."""
    if system == "Linux":
        rows = dict(re.findall(r"^(MemTotal|MemAvailable): +(\d+) kB", meminfo(), re.MULTILINE))
        if "MemTotal" not in rows:
            return []
        free = int(rows["MemAvailable"]) << 10 if "MemAvailable" in rows else None
        return [_plain(int(rows["MemTotal"]) << 10, free, "/proc/meminfo")]
    text = ask(["wmic", "OS", "get", "TotalVisibleMemorySize,FreePhysicalMemory", "/value"]) or ""
    cells = dict(re.findall(r"(TotalVisibleMemorySize|FreePhysicalMemory)=(\d+)", text))
    if "TotalVisibleMemorySize" not in cells:
        return []
    free = int(cells["FreePhysicalMemory"]) << 10 if "FreePhysicalMemory" in cells else None
    return [_plain(int(cells["TotalVisibleMemorySize"]) << 10, free, "wmic")]


def _plain(size: int, free: int | None, tool: str) -> Accelerator:
    note = f"no accelerator was found: the machine's own memory, {size // MIB:,} MiB by {tool}"
    if free is not None:
        note += f", {free // MIB:,} MiB of it free"
    return Accelerator("ram", "", size, size, size, True, f"{size // MIB}MiB", tool, note=note,
                       sm=0, kind="RAM", unified=True, free=free)  # fmt: skip


def ask(command: list[str]) -> str | None:
    """What a command prints. It is looked up on the path only, never in the current folder."""
    tool = shutil.which(command[0])
    if tool is None or Path(tool).resolve().parent == Path.cwd():
        return None
    try:
        done = subprocess.run(
            [tool, *command[1:]], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _meminfo() -> str:
    try:
        return Path("/proc/meminfo").read_text("utf-8", "replace")
    except OSError:
        return ""
