"""Shell completion: what may stand at the cursor. Each completer reads no more than the names.

typer keeps what begins with the word so far. Where nothing does, the shell completes paths.
"""

import os
from collections.abc import Callable, Iterable

from kvcalc.dtypes import CACHE_FORMATS, STATE_FORMATS, WEIGHT_FORMATS
from kvcalc.file_types import GGUF_WORDS
from kvcalc.mlx_types import MLX_WORDS

Completer = Callable[[str], list[str]]

# Files that name a model when they lie in the current folder.
_MODEL_FILES = (".yaml", ".yml", ".json", ".gguf", ".safetensors")


def path(incomplete: str) -> list[str]:
    """Nothing: the shell knows the files."""
    return []


def model(incomplete: str) -> list[str]:
    """Shipped names, with the current folder's specs beside them; hub ids once there is a slash."""
    from kvcalc.spec.catalog import shipped
    from kvcalc.spec.hub_ids import entries

    if "/" in incomplete:
        return [] if incomplete[0] in "./~" else [entry.id for entry in entries()]
    names = [name for name in shipped() if name.startswith(incomplete)]
    return [*names, *sorted(name for name in os.listdir() if name.endswith(_MODEL_FILES) and names)]


def gpu(incomplete: str) -> list[str]:
    """Accelerators of the catalogue."""
    from kvcalc.deployment.hardware import catalogue

    return [device.name for device in catalogue()]


def one_of(names: Iterable[str]) -> Completer:
    """One of these names."""

    def complete(incomplete: str) -> list[str]:
        return list(dict.fromkeys(names))

    return complete


def several_of(names: Iterable[str], separators: str = ",") -> Completer:
    """Names with separators between them; the last one is completed."""

    def complete(incomplete: str) -> list[str]:
        start = max(incomplete.rfind(separator) for separator in separators) + 1
        return [incomplete[:start] + name for name in names]

    return complete


weight_dtype = one_of(("checkpoint", *WEIGHT_FORMATS, *GGUF_WORDS, *MLX_WORDS))
state_dtype = one_of(STATE_FORMATS)
kv_dtype = several_of(CACHE_FORMATS, ":")
kv_dtypes = several_of(CACHE_FORMATS, ",:")


def words() -> list[str]:
    """The words after ``kvcalc`` that a shell asks to complete.

    bash splits a word at a colon and at an equals sign, and replaces the last part alone: so the
    parts before a colon are taken out, and ``--kv-dtype=q8_0:b`` is asked as ``--kv-dtype b``.
    """
    if os.environ.get("_KVCALC_COMPLETE") != "complete_bash":
        return os.environ.get("_TYPER_COMPLETE_ARGS", "").split()[1:]
    given = os.environ.get("COMP_WORDS", "").split()
    cursor = os.environ.get("COMP_CWORD", "")
    last = int(cursor) if cursor.isdecimal() else len(given)
    kept: list[str] = []
    for word in given[: last + 1]:
        if word == ":":
            kept[-1:] = []
        elif word != "=":
            kept.append(word)
    begins_anew = last >= len(given) or given[last] in (":", "=")
    os.environ["COMP_WORDS"] = "\n".join(kept)
    os.environ["COMP_CWORD"] = str(len(kept) if begins_anew else len(kept) - 1)
    return kept[1:]
