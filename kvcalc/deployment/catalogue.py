"""The catalogue of accelerators: hardware.yaml and apple.yaml, looked up by exact name or stated alias."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.index import APPLE, HARDWARE, content
from kvcalc.errors import NotFoundError, UsageError
from kvcalc.frozen import changed
from kvcalc.names import family, listed, meant, parts
from kvcalc.units import GIB, format_bytes, parse_bytes, parse_memory


def _size(text: str) -> tuple[int, int, int]:
    """Bytes of a printed size, and the range that it may have been rounded from."""
    num_bytes = parse_memory(text)
    _, point, rest = text.partition(".")
    if not point:
        return num_bytes, num_bytes, num_bytes
    digits = rest.rstrip("KMGTiBkmgtb ")
    half = parse_bytes(f"1{rest[len(digits) :]}") // (2 * 10 ** len(digits))
    return num_bytes, num_bytes - half, num_bytes + half


# ------------------------------------------------------------------ the entries


@lru_cache(maxsize=1)
def _lines() -> dict[str, str]:
    """Name -> line of hardware.yaml; a name is found without reading what the others are."""
    lines = HARDWARE.read_text("utf-8").splitlines()
    return {line[len("- {name: ") :].split(",", 1)[0]: line for line in lines if line[:2] == "- "}


@lru_cache(maxsize=1)
def _rows() -> dict[str, Any]:
    return {row["name"]: row for row in content(HARDWARE)}


@lru_cache(maxsize=512)
def _entry(name: str) -> Accelerator:
    """The device of one line, as Linux shows it."""
    row = _rows()[name]
    printed = {system: row[system] for system in ("linux", "windows") if system in row}
    return _device(
        row["name"], row["vendor"], row["nominal"], printed, "linux", row["source"],
        aliases=tuple(row.get("aliases", ())), note=row.get("note", ""), sm=row.get("sm", 0),
        kind=row["kind"], unified=row.get("unified", False),
    )  # fmt: skip


def _device(
    name: str, vendor: str, nominal: str, printed: dict[str, str], system: str, source: str, **more: Any
) -> Accelerator:  # fmt: skip
    """A device as one system shows it: what was printed there, else the vendor's figure."""
    num_bytes, least, most = _size(printed.get(system, nominal))
    return Accelerator(
        name, vendor, num_bytes, least, most, system in printed, nominal, source, system=system,
        systems=tuple((each, _size(text)[0]) for each, text in printed.items()), **more,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _apple() -> Any:
    return content(APPLE)


@lru_cache(maxsize=1)
def _macs() -> dict[str, tuple[str, int]]:
    """``m3-max-64gb`` -> (chip, GiB) of every Mac."""
    chips = _apple()["chips"]
    return {f"{chip}-{size}gb": (chip, size) for chip, sizes in chips.items() for size in sizes}


def _mac(name: str) -> Accelerator:
    """A Mac, with what macOS lets its GPU wire."""
    _, size = _macs()[name]
    row = _apple()["limits"][str(size)]
    printed = {system: row[system] for system in ("macos", "older_macos") if system in row}
    system = "macos" if "macos" in printed else "older_macos"
    note = (
        f"shared with the CPU; the GPU may wire {printed[system]} of {size} GiB unless "
        "iogpu.wired_limit_mb says otherwise"
    )
    if len(printed) > 1:
        note += f"; macOS before 26 gives {printed['older_macos']}: {name}-older-macos"
    return _device(
        name, "Apple", f"{size}GiB", printed, system, row["source"], note=note, sm=0,
        kind="LPDDR", unified=True,
    )  # fmt: skip


@lru_cache(maxsize=1)
def catalogue() -> tuple[Accelerator, ...]:
    """Every device, in the files' order."""
    return (*(_entry(name) for name in _lines()), *(_mac(name) for name in _macs()))


@lru_cache(maxsize=1)
def device_names() -> tuple[str, ...]:
    """The name of every device, without reading what it is."""
    return (*_lines(), *_macs())


# ------------------------------------------------------------------ looking up

_MAKERS = (
    "nvidia", "amd", "intel", "apple", "geforce", "tesla", "instinct", "radeon", "(tm)", "(r)",
    "huawei", "google", "cloud", "graphics", "gpu",
)  # fmt: skip
_LINE_NAMES = re.compile(r"name: ([^,]+), (?:aliases: \[([^\]]*)\])?")
_LINE_MEMORY = re.compile(r"nominal: (\d+)G")
# Cards are also called by their number alone: 4090, 7900 xtx, b580, r9700, 910b, pro 6000.
_NUMBERED = re.compile(
    r"(?:(?:rtx|gtx|rx|arc)-([ab]?\d{3,4}(?:-.*)?)|rtx-(pro-\d{4}(?:-.*)?)"
    r"|(?:arc-pro|radeon-pro|radeon-ai-pro|ascend|quadro)-([abprvw]?\d{2,4}[bc]?(?:-.*)?))"
)
# What a Mac's chip stands in.
_MAC = re.compile(
    r"(?<![a-z])(?:mac ?book(?:[ -](?:pro|air))?|mac[ -](?:studio|mini|pro)|imac|mac)(?![a-z])"
)


def _words(name: str) -> str:
    """A name without its maker's words, unless these are all of it."""
    spelt = _MAC.sub(" ", name.lower())
    for word in _MAKERS:
        spelt = re.sub(rf"(?<![a-z]){re.escape(word)}(?![a-z])", " ", spelt)
    return spelt if parts(spelt) else name


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    """Every name that answers -> the device: names, stated aliases, a number alone, with the memory."""
    found: dict[str, str] = {}
    for name, line in _lines().items():
        stated, memory = _LINE_NAMES.search(line), _LINE_MEMORY.search(line)
        others = [alias.strip() for alias in (stated[2] or "").split(",")] if stated else []
        own = [name, *(alias for alias in others if alias)]
        own += [
            match[match.lastindex or 0] for alias in own if (match := _NUMBERED.fullmatch(alias))
        ]
        if memory:
            own += [f"{alias}-{memory[1]}gb" for alias in own if not alias.endswith("gb")]
        for alias in own:
            found.setdefault(alias, name)
    return {**found, **{name: name for name in _macs()}}


@lru_cache(maxsize=1)
def _by_parts() -> dict[tuple[str, ...], str]:
    return {parts(_words(alias)): name for alias, name in reversed(_aliases().items())}


def find(name: str) -> Accelerator:
    """A device by its exact name or an alias, however it is spelt.

    A system may stand behind it (``rtx-4070-windows``); ``ram-64gb`` is plain memory. Raises
    NotFoundError or UsageError naming what it may be, with the memory of each.
    """
    if name in _lines():
        return _entry(name)
    memory = re.fullmatch(r"ram[-_ ]?([1-9]\d{0,5})(?:gb|gib)", name.strip().lower())
    if memory:
        size = int(memory[1]) * GIB
        return Accelerator(f"ram-{memory[1]}gb", "", size, size, size, True, f"{memory[1]}GiB", "--gpu",
                           sm=0, kind="RAM", unified=True)  # fmt: skip
    spelt, system = _words(name), ""
    for suffix in ("linux", "windows", "older-macos", "macos"):
        folded = spelt.strip().replace("_", "-").replace(" ", "-")
        if folded.endswith(f"-{suffix}"):
            spelt, system = folded[: -len(suffix) - 1], suffix.replace("-", "_")
            break
    found = _by_parts().get(parts(spelt))
    if found is None:
        raise _unknown(name, spelt)
    device = _mac(found) if found in _macs() else _entry(found)
    return _on(device, system, name) if system and system != device.system else device


def _on(device: Accelerator, system: str, name: str) -> Accelerator:
    """A device as another system shows it. Raises UsageError where nobody's log says."""
    known = dict(device.systems)
    if system not in known:
        has = ", ".join(f"{each} ({format_bytes(size)})" for each, size in device.systems)
        raise UsageError(
            f"--gpu {name}: what {system.replace('_', ' ')} shows of {device.name} is not known"
            f"{f'; known is {has}' if has else ''}; --gpu-memory takes yours"
        )
    size = known[system]
    return changed(device, bytes=size, least=size, most=size, measured=True, system=system)


def _unknown(name: str, spelt: str) -> NotFoundError | UsageError:
    """The error about a name that is none: what it may be, and what tells those apart."""
    answers = _aliases()
    begun = dict.fromkeys(answers[alias] for alias in family(spelt, answers))
    trunk = re.sub(r"[-_ ]*\d+ ?gi?b\s*$", "", spelt)
    if not begun and trunk != spelt:
        # A product that there is, with a memory that it never had.
        found = _by_parts().get(parts(trunk))
        begun = dict.fromkeys(
            [found] if found else (answers[alias] for alias in family(trunk, answers))
        )
    # The same product with other memories comes first: rtx-3080 is rtx-3080-10gb or -12gb.
    asked = parts(spelt)
    same = [each for each in begun if re.fullmatch(r"-\d+gb", each[len(_trunk(each)) :])
            and parts(_words(_trunk(each))) == asked]  # fmt: skip
    told = [*same, *(each for each in begun if each not in same)]
    if len(told) == 1:
        return UsageError(
            f"--gpu {name}: known is {listed(told, _memories(told))}, and it is sold with other memory, "
            "too: say that, or --gpu-memory"
        )
    if told and len(told) < len(device_names()):
        return UsageError(f"--gpu {name} may be {listed(told, _memories(told))}: say which")
    near = list(dict.fromkeys(answers[alias] for alias in meant(spelt, answers)))
    hint = (
        f"did you mean {listed(near, _memories(near))}?" if near
        else "'kvcalc fit MODEL --gpus all' lists them"
    )  # fmt: skip
    return NotFoundError(f"no accelerator '{name}' ({hint}); --gpu-memory 80GiB does without one")


def _trunk(name: str) -> str:
    return re.sub(r"-\d+gb$", "", name)


def _memories(names: list[str]) -> dict[str, str]:
    """Name -> the memory on its box."""
    return dict(_each_memory(names))


def _each_memory(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        memory = _LINE_MEMORY.search(_lines().get(name, ""))
        yield name, f"{memory[1] if memory else _macs()[name][1]} GiB"


def of_size(text: str) -> Accelerator:
    """A device that is not in the catalogue, by its memory. Raises UsageError."""
    try:
        num_bytes, least, most = _size(text)
    except ValueError as error:
        raise UsageError(f"--gpu-memory: {error}") from None
    return Accelerator(text, "", num_bytes, least, most, True, text, "--gpu-memory")
