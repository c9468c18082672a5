"""An engine's memory for one sequence: slabs of equal layers, what they need and what they waste.

A ``Share`` is what one tensor-parallel rank of one pipeline stage holds of a sequence, as ``Slab``s of
equal layers; ``share.need`` is the same sequence in the engine's own number formats without pages,
and ``share.waste`` what pages add to that. ``kvcalc.engines.workload`` multiplies by ranks and
sequences.
"""

from collections.abc import Callable
from typing import Literal

from kvcalc.engines.result import Waste
from kvcalc.frozen import frozen
from kvcalc.memory.beside import groups_beside
from kvcalc.memory.cache import CacheFunction, compile_groups, tensor_bytes
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

Part = Literal["kv", "index", "state"]
PARTS: tuple[Part, ...] = ("kv", "index", "state")


def part_of(role: str) -> Part:
    """The part of a cache that a tensor's role belongs to."""
    if role in ("conv", "state"):
        return "state"
    return "index" if role == "index" else "kv"


@frozen(kw_only=True)
class Slab:
    """Equal layers: what each of them holds of one sequence on one rank.

    tensors: (name, rows, bytes of a row). padding_layers: equal slots that belong to no layer.
    unused_bytes: what the allocator sets aside beside these layers and nothing uses.
    """

    block: str
    mechanism: str
    layers: tuple[int, ...]
    tensors: tuple[tuple[str, int, int], ...]
    padding_layers: int = 0
    unused_bytes: int = 0

    @property
    def layer_bytes(self) -> int:
        return sum(rows * row_bytes for _, rows, row_bytes in self.tensors)

    @property
    def bytes(self) -> int:
        return (len(self.layers) + self.padding_layers) * self.layer_bytes + self.unused_bytes


@frozen(kw_only=True)
class Share:
    """One tensor-parallel rank of one pipeline stage, for one sequence.

    need: bytes without pages in the engine's formats. waste: causes that make ``bytes`` of it.
    """

    slabs: tuple[Slab, ...]
    need: dict[Part, int]
    waste: tuple[Waste, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(slab.bytes for slab in self.slabs)


@frozen(kw_only=True)
class Holding:
    """An engine's memory for sequences of one model under one set of flags.

    shares: of a sequence of max_model_len, one for each pipeline stage. stage_bytes: of a sequence of
    any other length on the same server, which is that of the length rounded up to ``step``; beyond
    ``far`` every ``period`` of tokens adds the same.
    formats: how this engine's formats differ, by part, in words. rest: what the memory that so many
    sequences were given holds beyond their own, on each rank; None: nothing.
    """

    version: str
    shares: tuple[Share, ...]
    stage_bytes: Callable[[int], tuple[int, ...]]
    far: int
    period: int
    step: int
    formats: dict[Part, str]
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rest: Callable[[int], int] | None = None


def logical_parts(spec: ModelSpec, workload: Workload) -> dict[Part, int]:
    """The logical need of all sequences, by part of the cache."""
    groups = (*groups_of(spec), *groups_beside(spec, workload.beside))
    function = compile_groups(groups, workload.cache)
    length = function.peak(workload.context_tokens, workload.encoder_tokens)
    one = group_parts(groups, workload, length)
    return {part: num_bytes * workload.num_sequences for part, num_bytes in one.items()}


def group_parts(groups: tuple[CacheGroup, ...], workload: Workload, length: int) -> dict[Part, int]:
    """What the tensors of groups hold of one sequence of exactly ``length`` tokens, by part."""
    found: dict[Part, int] = dict.fromkeys(PARTS, 0)
    for group in groups:
        for tensor in group.tensors:
            function = CacheFunction(((tensor.extent, tensor_bytes(tensor, workload.cache)),))
            num_bytes = function.at(length, workload.encoder_tokens)
            found[part_of(tensor.role)] += num_bytes * len(group.layers)
    return found
