"""Where a model is to run, as it was named: which devices that is to each kind of engine."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.hardware import find, of_size
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.layout import Layout
from kvcalc.units import parse_memory

# '2x3090', 'rtx-3090 x 2'
_COUNT = re.compile(r"([1-9]\d{0,2}) ?[x×*] ?(?=[a-z\d])(.+)|(.+?) [x×*] ?([1-9]\d{0,2})", re.I)


def listed(gpus: str | Sequence[str] | None) -> tuple[str, ...]:
    """The accelerators that were named, one by one: '2x3090', 'rtx-3090 x 2' and 'a,b' are two."""
    named = (gpus,) if isinstance(gpus, str) else gpus or ()
    return tuple(gpu for each in named for gpu in _each(each))


def _each(text: str) -> Iterator[str]:
    for name in text.split(","):
        told = _COUNT.fullmatch(name.strip())
        if told is None:
            yield name.strip()
        else:
            yield from [told[2] or told[3]] * int(told[1] or told[4])


@frozen(kw_only=True)
class Where:
    """gpus: names, one by one. every: the list that was asked for in their place, ``all``. memory: of
    one without a name, as it was written.

    tensor, pipeline: ranks; None: as many as the equal devices that are listed. unnamed: equal devices
    of which nothing is known. ram: bytes beside the devices. reserve: what something else holds on each.
    """

    gpus: tuple[str, ...] = ()
    every: str | None = None
    memory: str | None = None
    tensor: int | None = None
    pipeline: int = 1
    unnamed: int = 0
    ram: int | None = None
    reserve: int | None = None

    @property
    def first(self) -> Accelerator | None:
        """The device that was named first, or stated by its memory; None where none was."""
        return device(next(iter(self.gpus), None), self.memory)

    def server(self, layout: Layout) -> tuple[str | None, Layout]:
        """The accelerator of an engine that runs on equal ones, named once or once a rank, and the layout.

        Equal devices that are listed are tensor ranks where nothing says how they share. Raises UsageError
        for different ones, and for another number of them than of ranks.
        """
        gpus = self.gpus
        layout = changed(layout, tensor=self.tensor or 1, pipeline=self.pipeline)
        if len(gpus) < 2:
            return (gpus[0] if gpus else None), layout
        said = f"--gpu {' --gpu '.join(gpus)}"
        if len({find(gpu).name for gpu in gpus}) > 1:
            raise UsageError(
                f"{said}: the number of equal devices is --tp and --pp; --engine llama.cpp runs on "
                "different ones"
            )
        if self.tensor is None and layout.devices == 1:
            return gpus[0], changed(layout, tensor=len(gpus))
        if len(gpus) != layout.devices:
            raise UsageError(
                f"{said}: {len(gpus)} devices, and --tp and --pp say {layout.devices}: write --gpu "
                f"{gpus[0]} --tp {len(gpus)}"
            )
        return gpus[0], layout

    def one_or_all(self, gpu: str | None) -> Accelerator | None:
        """The one that was said, or None for all of them. gpu: of those that ``server`` found equal.

        Raises UsageError for none, and for several.
        """
        every = self.every
        if every is not None and every != "all":
            raise UsageError(
                f"--gpus {every}: the number of GPUs is --tp and --pp: --gpu {gpu or 'NAME'} --tp {every}"
                if every.isdecimal()
                else f"--gpus {every}: the only list is 'all'; one accelerator is --gpu {every}"
            )
        if sum(given is not None for given in (gpu, every, self.memory)) != 1:
            raise UsageError("say one of --gpu NAME, --gpus all and --gpu-memory SIZE")
        return device(gpu, self.memory)

    def machine(self) -> Any:
        """The devices of llama.cpp: each that was named once, or as many of one as there are ranks; none:
        the CPU alone. Raises UsageError."""
        from kvcalc.engines.llama_cpp.memory import Machine, Unnamed

        gpus, count, unnamed = self.gpus, (self.tensor or 1) * self.pipeline, self.unnamed
        if not gpus and self.memory is None and self.ram is None and not unnamed:
            raise UsageError("say --gpu NAME, --gpu-memory SIZE, or --ram SIZE for the CPU alone")
        if gpus and self.memory is not None:
            raise UsageError(_NOT_BOTH)
        found = [of_size(self.memory)] if self.memory is not None else list(map(find, gpus))
        if count > 1 and len(found) > 1 and count != len(found):
            raise UsageError(f"{len(found)} devices are named, and {count} are asked for")
        if count > 1 and not found and count != unnamed:
            raise UsageError("--tp and --pp count devices, and none is named: --gpu NAME")
        if count > 1 and len(found) == 1:
            found *= count
        if unnamed and len(found) not in (0, 1, unnamed):
            raise UsageError(f"--devices {unnamed}: {len(found)} are named")
        if unnamed and len(found) == 1:
            found *= unnamed
        nameless = tuple(Unnamed(f"device {number}") for number in range(unnamed))
        ram, shared = self.ram, None
        if any(one.unified and one.vendor for one in found):
            # A Mac has its memory once: no more than the machine's, the GPU's share of it taken from it.
            shared = min(parse_memory(one.nominal) for one in found if one.unified and one.vendor)
            ram = None if ram is None else min(ram, shared)
        return Machine(devices=tuple(found) or nameless, ram=ram, reserve=self.reserve or 0,
                       shared=shared)  # fmt: skip


_NOT_BOTH = "give --gpu or --gpu-memory, not both"


def device(gpu: str | None, memory: str | None) -> Accelerator | None:
    """The accelerator that was named, or stated by its memory; None where neither was.

    Raises UsageError, and NotFoundError for a name that none has.
    """
    if gpu is not None and memory is not None:
        raise UsageError(_NOT_BOTH)
    if gpu is not None:
        return find(gpu)
    return None if memory is None else of_size(memory)


def one_of_equal(gpus: Sequence[str], ranks: int) -> Accelerator | None:
    """One of the devices whose kernels decide formats: as many as the ranks, or named once.

    Raises UsageError for different ones, and for another number of them.
    """
    if not gpus:
        return None
    found = [find(name) for name in gpus]
    if len({each.sm or each.name for each in found}) > 1:
        raise UsageError(
            f"--gpu {' --gpu '.join(gpus)}: ranks of one server run the same kernels, and these GPUs "
            "have different compute capabilities, or none"
        )
    if len(found) not in (1, ranks):
        raise UsageError(
            f"{len(found)} GPUs for {ranks} rank{'s' if ranks != 1 else ''}: --tp and --pp say how "
            "many there are"
        )
    return found[0]
