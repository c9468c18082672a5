"""What vLLM's model classes allocate for a model's weights on one tensor rank.

Rules, with the place in vLLM 0.33.0 that each follows; what is built here is held to those classes on
the meta device (tests/engines/vllm_loaded.py).

* A vocabulary is padded to a multiple of 64 before it is divided (layers/vocab_parallel_embedding.py,
  DEFAULT_VOCAB_PADDING_SIZE).
* Some classes keep the router in float32, whole on each rank (``params_dtype`` of their gate), and
  most the correction of its scores; kvcalc's ``classes.py`` has them.
* Recurrent layers keep A in float32 (layers/mamba/mamba_mixer.py, mamba_mixer2.py,
  gdn/qwen_gdn_linear_attn.py), Kimi's also dt_bias and the convolution; the sparse indexer's key norm
  is float32 (models/deepseek_v2.py, Indexer).
* MXFP4 experts are padded as their kernel wants (layers/fused_moe/oracle/mxfp4.py).
* GPTQ's group index is dropped unless the checkpoint sorts by activation.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import ClassVar, NamedTuple

from kvcalc.dtypes import weight_format
from kvcalc.engines.loaded import SHARED_HEADS, UNEVEN, WHOLE, Held
from kvcalc.engines.vllm.buffers import buffer_bytes
from kvcalc.engines.vllm.classes import ModelClass
from kvcalc.frozen import changed
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.ledger import Row, Stored, Weight, rank_shape
from kvcalc.memory.weights import ledger
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor

VOCABULARY = "vocabulary padded"
FLOAT32 = "float32"
ROUTER = "routers in float32"
CORRECTION = "router corrections in float32"
HEAD_BIAS = "bias of the head"
OWN_HEAD = "head of its own"
GROUP_INDEX = "group index of GPTQ"
KEY_BIASES = "biases of keys"
PADDED = "experts padded"
EXPERTS = "experts dealt out whole"

_PADDING = 64  # DEFAULT_VOCAB_PADDING_SIZE
FP32, _BF16 = weight_format("fp32"), weight_format("bf16")


class Padding(NamedTuple):
    """Multiples that an expert's sizes are padded to."""

    hidden: int
    inner: int


class VllmClasses:
    """One model's class in vLLM. Raises UnsupportedError where ``--dtype`` cannot be given a format.

    padding: (hidden, inner) multiples of the kernel that runs MXFP4 experts; None where a model
    without them does not ask. expert, data: ranks that share whole experts.
    """

    def __init__(
        self, spec: ModelSpec, dtype: str, found: ModelClass, padding: Padding | None = None,
        experts_over: int = 0,
    ) -> None:  # fmt: skip
        self.spec, self.found, self.padding = spec, found, padding
        self.experts_over = experts_over
        self.rows = ledger(spec, dtype).rows

    def held(self, ranks: int) -> Iterable[Held]:
        stored = {row.weight for row in self.rows}
        for row in self.rows:
            yield Held(row, tuple(self._steps(row, ranks)))
        if self.found.own_head and self.spec.tie_word_embeddings is True:
            yield self._own_head(ranks)
        for group in parameter_groups(self.spec):
            for tensor in group.tensors:
                weight = Weight(group, tensor)
                if tensor.buffer and self.found.own and weight not in stored:
                    yield Held(row := _float32(weight), ((CORRECTION, row.bytes_each),), False)
                if self.found.key_biases and tensor.name.endswith("k_proj.weight"):
                    yield self._key_bias(weight, ranks)

    def _steps(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        tensor, format = row.weight.tensor, row.stored.format
        if row.name == "head.bias" and not self.found.own:
            yield HEAD_BIAS, 0
            return
        if row.name == "head.weight" and self.found.no_head:
            yield OWN_HEAD, 0
            return
        if tensor.component == "experts" and (self.experts_over or self._padded(row)):
            yield from self._experts(row, ranks)
            return
        whole = row.name in self.found.whole or not (self.found.divided or row.place != "layers")
        shape = tensor.shape if whole else rank_shape(tensor, ranks)
        size = row.shape_bytes(shape)
        yield (WHOLE if whole else _first_reason(tensor, ranks)), size
        if _is_vocabulary(tensor) and not whole:
            rows = -(-tensor.shape[0] // _PADDING) * _PADDING
            shape = (rows // ranks, *shape[1:])
            size = row.shape_bytes(shape)
            yield VOCABULARY, size
        if format.column_bytes:
            size -= format.column_bytes * shape[-1] * prod(shape[:-2]) * tensor.fused
            yield GROUP_INDEX, size
        if kept := self.found.float32(row.name):
            yield kept, FP32.tensor(shape)

    def _padded(self, row: Row) -> bool:
        """Whether the kernel pads the tensor: MXFP4 experts and their biases, or a class's least."""
        return bool(self.found.least_inner) or (
            self.padding is not None and row.weight.tensor.experts_per_token is not None
        )

    def _experts(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        tensor = row.weight.tensor
        count, *sizes = tensor.shape
        over = self.experts_over
        if over:
            count = -(-count // over)
        inner = next((axis for axis in (tensor.shard.axis,)), None) if tensor.shard else None
        parts = len(tensor.shard.parts) if tensor.shard else 1
        if tensor.shard is not None and not over:
            share = [part.per_rank(ranks) for part in tensor.shard.parts]
            sizes[tensor.shard.axis - 1] = sum(share)
        if over:
            yield EXPERTS, row.shape_bytes((count, *sizes))
        elif self.padding is None:
            yield UNEVEN, row.shape_bytes((count, *sizes))
        hidden_by, inner_by = self.padding or Padding(1, 1)
        for axis, size in enumerate(sizes):
            by = parts * inner_by if inner == axis + 1 else hidden_by
            if inner == axis + 1 and self.found.least_inner and ranks > 1 and not over:
                size = max(size, parts * self.found.least_inner)
            sizes[axis] = -(-size // by) * by
        yield PADDED, row.shape_bytes((count, *sizes))

    def _own_head(self, ranks: int) -> Held:
        table = next(row for row in self.rows if row.name == "embedding.weight")
        *_, (_, size) = self._steps(table, ranks)
        group = changed(table.weight.group, place="last")
        row = Row(Weight(group, table.weight.tensor), table.stored, (), 0)
        return Held(row, ((OWN_HEAD, size),), False)

    def _key_bias(self, weight: Weight, ranks: int) -> Held:
        tensor = weight.tensor
        name = tensor.name.replace(".weight", ".bias")
        bias = ParamTensor(name, tensor.shape[:1], tensor.component, tensor.shard)
        row = Row(Weight(weight.group, bias), Stored(_BF16), weight.group.layers, 0)
        return Held(row, ((KEY_BIASES, _BF16.tensor(rank_shape(bias, ranks))),), False)

    def buffers(self, layers: Sequence[int], ends: tuple[bool, bool]) -> int | None:
        return buffer_bytes(self.spec, self.found, layers, ends[0])

    why: ClassVar[dict[str, str]] = {
        VOCABULARY: "to a multiple of 64 rows, then divided",
        ROUTER: "the class's gate, whole on each rank",
        CORRECTION: "the class keeps them as float32 parameters",
        FLOAT32: "the class keeps them so, whatever the model's format",
        HEAD_BIAS: "the Transformers backend's head has none",
        OWN_HEAD: "the class ties its head, or does not, whatever the checkpoint does",
        GROUP_INDEX: "not needed where the checkpoint does not sort by activation",
        KEY_BIASES: "one tensor holds the biases of q, k and v",
        PADDED: "as the kernel wants the inner width of a rank and the hidden size",
        EXPERTS: "expert parallelism: each rank has experts of its own, whole",
    }

    @property
    def notes(self) -> tuple[str, ...]:
        return ()


def _float32(weight: Weight) -> Row:
    """A buffer that the checkpoint's format says nothing of."""
    return Row(weight, Stored(FP32), weight.group.layers, FP32.tensor(weight.tensor.shape))


def _is_vocabulary(tensor: ParamTensor) -> bool:
    return tensor.shard is not None and any(part.pad for part in tensor.shard.parts)


def _first_reason(tensor: ParamTensor, ranks: int) -> str:
    """Why a share is not the tensor by the number of ranks."""
    if tensor.shard is None:
        return WHOLE
    if any(part.replicate and part.units % ranks for part in tensor.shard.parts):
        return SHARED_HEADS
    return VOCABULARY if _is_vocabulary(tensor) else UNEVEN
