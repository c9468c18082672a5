"""LoRA adapters: two narrow matrices beside each linear layer that they change.

    W x + B A x        A in R^(r x in), B in R^(out x r)        r (in + out) parameters a layer

    r  rank

What they take depends on who holds them.

* peft (0.21, tuners/lora/layer.py, update_layer): A and B of each named layer, in float32 beside 16-bit
  weights (``autocast_adapter_dtype``). Stacked experts have one pair for all, r times as wide as there
  are experts, and twice that where gate and up are one tensor.
* an engine (``Reservation``): slots of the longest rank for its whole packed layers, in the model's
  format, before any adapter is loaded.

Tensor parallelism divides A where it divides the layer's inputs, and B where it divides its outputs.
"""

from typing import Protocol

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor

# Layers that vLLM and SGLang pack of several: a rule for one part is for all (packed_modules_mapping).
PACKED = (frozenset(("q_proj", "k_proj", "v_proj")), frozenset(("gate_proj", "up_proj")))
# An element of an adapter in peft's hands, beside 16-bit weights.
PEFT_BYTES = 4


@frozen(kw_only=True)
class Adapted:
    """A linear layer that adapters change.

    name: as ``target_modules`` calls it. tensors: those of the inventory that it holds along its rows.
    layers: how many of the model's layers have it.
    """

    name: str
    tensors: tuple[ParamTensor, ...]
    layers: int

    @property
    def experts(self) -> int:
        """How many are stacked in it; 0 where it is one matrix."""
        first = self.tensors[0]
        return first.shape[0] if first.component == "experts" and len(first.shape) == 3 else 0

    def parameters(self, rank: int) -> int:
        """Of one adapter, as peft has them."""
        first = self.tensors[0]
        if self.experts:
            wide = rank * self.experts * first.fused
            return self.layers * wide * (first.shape[1] + first.shape[2])
        rows = sum(tensor.shape[0] for tensor in self.tensors)
        return self.layers * rank * (rows + first.shape[1])

    def on_rank(self, rank: int, ranks: int, slices: int = 1, sharded: bool = False) -> int:
        """Elements of one adapter on one of ``ranks``; stacked experts have a pair of matrices each.

        slices: matrices A that the layer has. sharded: ranks share the rank of A where they divide the
        layer's outputs, and the outputs of B where they divide its inputs. Raises UnsupportedError
        where ranks do not divide it.
        """
        try:
            shapes = [tensor.per_rank(ranks) for tensor in self.tensors]
        except ValueError as error:
            raise UnsupportedError(f"--tp {ranks}: {self.name}: {error}") from None
        shard = self.tensors[0].shard
        each = self.experts or 1
        inputs, outputs = shapes[0][-1], sum(shape[-2] for shape in shapes)
        if not sharded or ranks == 1 or shard is None:
            return self.layers * each * rank * (slices * inputs + outputs)
        by_output = shard.axis % len(shapes[0]) == len(shapes[0]) - 2
        divided = rank if by_output else outputs
        if divided % ranks:
            what = f"a rank of {rank}" if by_output else f"{self.name}'s {outputs} outputs"
            raise UnsupportedError(f"--tp {ranks}: {what} cannot be divided among {ranks} ranks")
        if by_output:
            return self.layers * each * (rank // ranks * slices * inputs + rank * outputs)
        return self.layers * each * rank * (slices * inputs + outputs // ranks)


class Reservation(Protocol):
    """What an engine sets aside for adapters."""

    @property
    def words(self) -> str:
        """The engine, as sentences name it."""

    def rank_bytes(self, adapters: "Adapters", spec: ModelSpec, ranks: int) -> int:
        """On one tensor rank. Raises UnsupportedError for what it does not hold, or is not known."""

    def notes(self, adapters: "Adapters", spec: ModelSpec) -> tuple[str, ...]:
        """What was assumed."""


@frozen(kw_only=True)
class Adapters:
    """What was asked for. rank: of each adapter, or the longest of them. count: how many at once.

    every: the linear layers that the model has. named: the words that chose some, () where none did.
    sharded: whether ranks share all of them (--fully-sharded-loras).
    unclear: why peft's own choice is not known here where none were named; "" where it is.
    """

    rank: int
    count: int
    every: tuple[Adapted, ...]
    named: tuple[str, ...] = ()
    unclear: str = ""
    reservation: Reservation | None = None
    sharded: bool = False

    @property
    def chosen(self) -> tuple[Adapted, ...]:
        """The layers that adapters change. Raises UnsupportedError where they have to be named."""
        if self.unclear and not self.named:
            raise UnsupportedError(self.unclear)
        return tuple(each for each in self.every if not self.named or each.name in self.named)

    @property
    def named_whole(self) -> frozenset[str]:
        """The words that were named, and the others of a layer that servers pack of several."""
        packed = [parts for parts in PACKED if not parts.isdisjoint(self.named)]
        return frozenset(self.named).union(*packed)

    @property
    def parameters(self) -> int:
        """Of all adapters, as peft has them."""
        return self.count * sum(layer.parameters(self.rank) for layer in self.chosen)

    def rank_bytes(self, spec: ModelSpec, ranks: int) -> int:
        """Bytes on one tensor rank: as reserved, or as peft keeps them, divided as the layers are."""
        if self.reservation is not None:
            return self.reservation.rank_bytes(self, spec, ranks)
        if self.sharded:
            raise UsageError("--fully-sharded-loras is vLLM's: --engine vllm")
        if ranks == 1:
            return PEFT_BYTES * self.parameters
        if any(layer.experts for layer in self.chosen):
            raise UnsupportedError(
                f"--tp {ranks}: how adapters of stacked experts are divided is not known"
            )
        one = sum(layer.on_rank(self.rank, ranks) for layer in self.chosen)
        return PEFT_BYTES * self.count * one
