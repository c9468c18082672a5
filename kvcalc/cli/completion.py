"""Shell completion: what may stand at the cursor. Each completer reads no more than the names.

A completer that returns nothing leaves the word to the shell, which completes paths.
"""

import os
from collections.abc import Callable, Iterable

from kvcalc.dtypes import CACHE_FORMATS, STATE_FORMATS, WEIGHT_FORMATS

Completer = Callable[[str], list[str]]

# Files that name a model when they lie in the current folder.
_MODEL_FILES = (".yaml", ".yml", ".json", ".gguf", ".safetensors")
# bash takes what follows a colon for a word of its own; what stood before it must not come again.
_held_by_bash = ""


def path(incomplete: str) -> list[str]:
    """Nothing: the shell knows the files."""
    return []


def model(incomplete: str) -> list[str]:
    """Shipped names, with the current folder's specs; hub ids once there is a slash."""
    from kvcalc.spec.catalog import hub_ids, shipped

    typed = incomplete.lower()
    if "/" in typed:
        ids = [] if typed[0] in "./~" else [hub_id for hub_id, _ in hub_ids()]
        return [hub_id for hub_id in ids if hub_id.lower().startswith(typed)]
    names = [name for name in shipped() if name.startswith(typed)]
    files = [name for name in os.listdir() if name.endswith(_MODEL_FILES) and names]
    return [*names, *sorted(name for name in files if name.startswith(incomplete))]


def gpu(incomplete: str) -> list[str]:
    """Accelerators of the catalogue."""
    from kvcalc.deployment.hardware import catalogue

    return [device.name for device in catalogue() if device.name.startswith(incomplete.lower())]


def one_of(names: Iterable[str]) -> Completer:
    """One of these names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete.lower())]

    return complete


def several_of(names: Iterable[str], separators: str = ",") -> Completer:
    """Names with separators between them; the last one is completed."""

    def complete(incomplete: str) -> list[str]:
        start = max(incomplete.rfind(separator) for separator in separators) + 1
        before, typed = incomplete[:start], incomplete[start:].lower()
        before = before.removeprefix(_held_by_bash)
        return [before + name for name in names if name.startswith(typed)]

    return complete


weight_dtype = one_of(("checkpoint", *WEIGHT_FORMATS))
state_dtype = one_of(STATE_FORMATS)
kv_dtype = several_of(CACHE_FORMATS, ":")
kv_dtypes = several_of(CACHE_FORMATS, ",:")


def words() -> list[str]:
    """The words after ``kvcalc`` that a shell asks to complete.

    For bash they are put together again where it split a word at a colon or an equals sign.
    """
    global _held_by_bash
    if os.environ.get("_KVCALC_COMPLETE") != "complete_bash":
        return os.environ.get("_TYPER_COMPLETE_ARGS", "").split()[1:]
    split = os.environ.get("COMP_WORDS", "").split()
    cursor = os.environ.get("COMP_CWORD", "")
    if not cursor.isdecimal():
        return split[1:]
    before, rest = split[: int(cursor) + 1], split[int(cursor) + 1 :]
    joined: list[str] = []
    for index, word in enumerate(before):
        if index and (word in (":", "=") or before[index - 1] in (":", "=")):
            joined[-1] += word
        else:
            joined.append(word)
    at_end = int(cursor) >= len(split)
    if joined and not at_end:
        value = joined[-1].partition("=")[2] if joined[-1].startswith("--") else joined[-1]
        _held_by_bash = value[: value.rfind(":") + 1]
    os.environ["COMP_WORDS"] = "\n".join([*joined, *rest])
    os.environ["COMP_CWORD"] = str(len(joined) - (not at_end))
    return joined[1:]
