"""The flags that say what lies where, as llama.cpp reads them (common/arg.cpp)."""

import re

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen


@frozen(kw_only=True)
class Placing:
    """The flags that say what lies where.

    num_gpu_layers: the layers on devices, the output counted as one; None for all.
    num_cpu_moe: the first layers whose experts stay in RAM; None for all of them (--cpu-moe).
    overrides: (pattern, buffer), the first that matches decides. shares: of the devices; empty for
    their free memory. one: the only device that is used (--split-mode none). offload_cache: caches
    lie with their layers; else in RAM.
    """

    num_gpu_layers: int | None = None
    num_cpu_moe: int | None = 0
    overrides: tuple[tuple[str, str], ...] = ()
    shares: tuple[float, ...] = ()
    one: int | None = None
    offload_cache: bool = True

    def in_ram(self, layer: int) -> bool:
        """Whether the experts of a layer stay in RAM."""
        return self.num_cpu_moe is None or layer < self.num_cpu_moe


def layers_of(given: str | None) -> int | None:
    """``--n-gpu-layers``: None for all of them; Raises UsageError for what is no number."""
    if given == "all" or is_open(given):
        return None
    try:
        number = int(given or "")
    except ValueError:
        raise UsageError(f"--n-gpu-layers {given}: a number of layers, all or auto") from None
    return None if number < 0 else number


def is_open(given: str | None) -> bool:
    """Whether ``--n-gpu-layers`` leaves it to be found: arg.cpp reads auto as -1, and all as -2."""
    return given in (None, "auto", "-1")


def overrides_of(given: str | None) -> tuple[tuple[str, str], ...]:
    """``--override-tensor``, pattern by pattern. Raises UsageError."""
    found = []
    for part in (given or "").split(","):
        if not part:
            continue
        pattern, equals, buffer = part.partition("=")
        if not equals or not pattern:
            raise UsageError(f"--override-tensor {part}: write PATTERN=BUFFER, as in exps=CPU")
        found.append((pattern, buffer))
    return tuple(found)


def shares_of(given: str | None) -> tuple[float, ...]:
    """``--tensor-split``. Raises UsageError."""
    try:
        return tuple(float(part) for part in re.split(r"[,/]+", given or "") if part)
    except ValueError:
        raise UsageError(f"--tensor-split {given}: write shares as 3,1") from None


def one_device(mode: str | None, main: int | None) -> int | None:
    """The only device of ``--split-mode none``. Raises UsageError, UnsupportedError for cut matrices."""
    if mode in ("row", "tensor"):
        raise UnsupportedError(
            f"--split-mode {mode} cuts matrices across devices, which is not accounted for here: "
            "'layer' deals whole layers"
        )
    if mode not in (None, "layer", "none"):
        raise UsageError(f"--split-mode {mode}: choose from layer, none")
    return (main or 0) if mode == "none" else None
