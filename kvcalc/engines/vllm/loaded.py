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
from typing import ClassVar, NamedTuple

from kvcalc.dtypes import Format, weight_format
from kvcalc.engines.loaded import SHARED_HEADS, UNEVEN, WHOLE, Held, Loaded
from kvcalc.engines.vllm.buffers import buffer_bytes
from kvcalc.engines.vllm.classes import ModelClass
from kvcalc.engines.vllm.quantised import (
    KEYS,
    attention_scales,
    check_blocks,
    expert_bias,
    format_of,
)
from kvcalc.engines.vllm.repacked import deep_gemm, growth
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import Row, Stored, Weight, rank_shape
from kvcalc.memory.schemes import PLAIN
from kvcalc.memory.weights import ledger
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor

VOCABULARY = "vocabulary padded"
FLOAT32 = "float32"
ROUTER = "routers in float32"
CORRECTION = "router corrections in float32"
HEAD_BIAS = "bias of the head"
SCALES_FP32 = "scales in float32"
INPUT_SCALES = "input scales of experts"
SHAPES = "shapes of packed matrices"
SCALES = "scales of attention"
EXPERT_BIASES = "biases of GPTQ experts"
OWN_HEAD = "head of its own"
GROUP_INDEX = "group index of GPTQ"
KEY_BIASES = "biases of keys"
PADDED = "experts padded"
TOWER = "towers padded"
REPACKED = "repacked MXFP4 experts"
PACKED_SCALES = "scales of FP8 blocks packed"
ABSORBED = "absorbed matrices of latent attention"
NO_TOWERS = "towers not loaded"
EXPERTS = "experts dealt out whole"
REPLICAS = "experts cut over all replicas"

_PADDING = 64  # DEFAULT_VOCAB_PADDING_SIZE
FP32, _BF16 = weight_format("fp32"), weight_format("bf16")


class Padding(NamedTuple):
    """Multiples that an expert's sizes are padded to. wide_biases, swizzled: what its kernel makes of
    biases and of scales once they are loaded (repacked.py)."""

    hidden: int
    inner: int
    wide_biases: bool = False
    swizzled: bool = False


class VllmClasses:
    """One model's class in vLLM. Raises UnsupportedError where ``--dtype`` cannot be given a format.

    padding: (hidden, inner) multiples of the kernel that runs MXFP4 experts; None where a model
    without them does not ask. experts_over: ranks that share whole experts; 0 where each is cut.
    replicas: of the attention (--data-parallel-size). deep_gemm: linear layers run its kernels, whose
    scales are packed. SGLang's layers, which are adapted from these,
    differ in what its own subclass says (engines/sglang/loaded.py).
    """

    def __init__(
        self, spec: ModelSpec, dtype: str, found: ModelClass, padding: Padding | None = None,
        experts_over: int = 0, replicas: int = 1, deep_gemm: bool = False,
    ) -> None:  # fmt: skip
        self.spec, self.found, self.padding = spec, found, padding
        self.experts_over, self.replicas = experts_over, replicas
        self.deep_gemm = deep_gemm
        # What another --dtype gives is no checkpoint of the method that the spec's own was made by.
        self.by = spec.quantized_by if dtype == "checkpoint" else {}
        self.rows = ledger(spec, dtype).rows
        self.known: dict[Layout, Loaded] = {}
        self._held: dict[int, list[Held]] = {}

    def held(self, ranks: int) -> Iterable[Held]:
        """Every tensor of a rank; see the module. However many stages there are."""
        if ranks not in self._held:
            self._held[ranks] = [*self._each(ranks)]
        return self._held[ranks]

    def _each(self, ranks: int) -> Iterator[Held]:
        stored = {row.weight for row in self.rows}
        for row in self.rows:
            yield Held(row, tuple(self._steps(row, self._ranks(row, ranks))))
            yield from self._beside(row, ranks)
        if self.found.own_head and self.spec.tie_word_embeddings is True:
            yield self._own_head(ranks)
        for group in parameter_groups(self.spec):
            for tensor in group.tensors:
                weight = Weight(group, tensor)
                if tensor.buffer and self.found.own and weight not in stored:
                    yield self._correction(weight)
                if self.found.key_biases and tensor.name.endswith("k_proj.weight"):
                    yield self._key_bias(weight, ranks)

    def _ranks(self, row: Row, ranks: int) -> int:
        """Among how many ranks the row is divided: routed experts are cut over the ranks of all replicas
        (fused_moe/config.py, flatten_tp_across_dp_and_pcp)."""
        routed = row.weight.tensor.experts_per_token is not None
        return ranks * self.replicas if routed else ranks

    def _beside(self, row: Row, ranks: int) -> Iterator[Held]:
        """What a quantised tensor's method creates beside it."""
        num_bytes, reason = 0, SCALES
        if row.weight.tensor.name in KEYS:
            num_bytes = attention_scales(row, self.by)
        elif row.component == "experts" and row.weight.tensor.quantised:
            among = self._ranks(row, ranks)
            shape, inner = self._share_of_experts(row.weight.tensor, among)
            num_bytes, reason = expert_bias(row, shape, inner), EXPERT_BIASES
        if num_bytes:
            yield Held(changed(row, bytes_each=0), ((reason, num_bytes),), False)

    def _steps(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        tensor = row.weight.tensor
        if row.name == "head.bias" and not self.found.own:
            yield HEAD_BIAS, 0
            return
        if row.name == "head.weight" and self.found.no_head:
            yield OWN_HEAD, 0
            return
        if row.name.startswith("towers."):
            yield from self._tower(row, ranks)
            return
        if tensor.component == "experts" and tensor.experts_per_token is not None:
            yield from self._experts(row, ranks)
            return
        whole = row.name in self.found.whole or not (self.found.divided or row.place != "layers")
        shape = tensor.shape if whole else rank_shape(tensor, ranks)
        check_blocks(row, ranks)
        yield (WHOLE if whole else _first_reason(tensor, ranks)), row.shape_bytes(shape)
        if _is_vocabulary(tensor) and not whole:
            rows = -(-tensor.shape[0] // _PADDING) * _PADDING
            shape = (rows // ranks, *shape[1:])
            yield VOCABULARY, row.shape_bytes(shape)
        if kept := self.found.float32(row.name):
            yield kept, FP32.tensor(shape)
        elif (created := self._created(row, 0)) != row.stored.format:
            yield self._reason(row.stored.format, created), row.again(created).shape_bytes(shape)

    def _tower(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        """A tower's tensor: the class divides some."""
        if self.found.no_towers:
            yield NO_TOWERS, 0
            return
        axis = next((at for end, at in self.found.towers if row.name.endswith(end)), None)
        if axis is None:
            yield WHOLE, row.bytes_each
            return
        shape, by = list(row.weight.tensor.shape), self.found.tower_inner
        if ".ffn." in row.name and shape[axis] % by:
            yield UNEVEN, row.bytes_each // ranks
            shape[axis] += -shape[axis] % by
        if shape[axis] % ranks:
            raise UnsupportedError(
                f"{row.name} {shape}: {shape[axis]} cannot be divided among {ranks} ranks"
            )
        padded = shape[axis] != row.weight.tensor.shape[axis]
        shape[axis] //= ranks
        yield (TOWER if padded else UNEVEN), row.shape_bytes(tuple(shape))

    def _share_of_experts(self, tensor: ParamTensor, ranks: int) -> tuple[tuple[int, ...], int]:
        """A rank's share of stacked experts, and the inner width of one there."""
        over = self.experts_over
        if over:
            shape = (-(-tensor.shape[0] // over), *tensor.shape[1:])
        else:
            shape = tensor.shape if not self.found.divided else rank_shape(tensor, ranks)
        if tensor.shard is None:
            return shape, 0
        return shape, shape[tensor.shard.axis] // len(tensor.shard.parts)

    def _experts(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        tensor, over = row.weight.tensor, self.experts_over
        shape, inner = self._share_of_experts(tensor, ranks)
        cut = REPLICAS if self.replicas > 1 else _first_reason(tensor, ranks)
        first = EXPERTS if over else cut
        created = self._created(row, inner)
        if created == row.stored.format:
            made = row
            if not self._padded(row):
                yield first, row.shape_bytes(shape)
                return
        else:
            made = row.again(created)
            yield self._reason(row.stored.format, created), made.shape_bytes(shape)
        if self._padded(row):
            yield PADDED, made.shape_bytes(self._pad(tensor, shape, ranks))

    def _created(self, row: Row, inner: int) -> Format:
        """The format that the method creates a tensor in. inner: of an expert on a rank, else 0."""
        return format_of(row, inner, self.by)

    def _reason(self, stored: Format, created: Format) -> str:
        """Why a quantised tensor is not created as it is stored."""
        if stored.column_bytes:
            return GROUP_INDEX
        if stored.name.startswith("fp8+") and created.once_bytes < stored.once_bytes:
            return INPUT_SCALES
        return SHAPES if stored.name.endswith("+16") else SCALES_FP32

    def _pad(self, tensor: ParamTensor, shape: tuple[int, ...], ranks: int) -> tuple[int, ...]:
        """Stacked experts as the kernel wants the inner width of a rank and the hidden size."""
        hidden_by, inner_by, *_ = self.padding or Padding(1, 1)
        cut = tensor.shard.axis % len(shape) if tensor.shard is not None else -1
        parts = len(tensor.shard.parts) if tensor.shard is not None else 1
        sizes = []
        for axis, size in enumerate(shape[1:], 1):
            by = parts * inner_by if axis == cut else hidden_by
            if axis == cut and ranks > 1 and not self.experts_over:
                size = max(size, parts * self.found.least_inner)
            sizes.append(-(-size // by) * by)
        return (shape[0], *sizes)

    def _padded(self, row: Row) -> bool:
        """Whether a kernel or the class pads the tensor."""
        return self.padding is not None or bool(self.found.least_inner)

    def _own_head(self, ranks: int) -> Held:
        table = next(row for row in self.rows if row.name == "embedding.weight")
        rows, width = table.weight.tensor.shape
        size = table.shape_bytes((-(-rows // _PADDING) * _PADDING // ranks, width))
        group = changed(table.weight.group, place="last")
        row = Row(Weight(group, table.weight.tensor), table.stored, (), 0)
        return Held(row, ((OWN_HEAD, size),), False)

    def _correction(self, weight: Weight) -> Held:
        """The correction of a router's scores, which the checkpoint's format says nothing of."""
        kept = _BF16 if self.found.plain_corrections else FP32
        size = kept.tensor(weight.tensor.shape)
        row = Row(weight, Stored(kept), weight.group.layers, size)
        return Held(row, ((CORRECTION, size),), False)

    def _key_bias(self, weight: Weight, ranks: int) -> Held:
        tensor = weight.tensor
        name = tensor.name.replace(".weight", ".bias")
        bias = ParamTensor(name, tensor.shape[:1], tensor.component, tensor.shard)
        row = Row(Weight(weight.group, bias), Stored(_BF16), weight.group.layers, 0)
        return Held(row, ((KEY_BIASES, _BF16.tensor(rank_shape(bias, ranks))),), False)

    def buffers(self, layers: Sequence[int], ends: tuple[bool, bool]) -> int | None:
        found = buffer_bytes(self.spec, self.found, layers, ends[0])
        if found is None or self.experts_over < 2:
            return found
        # Where each expert is: a number of 32 bits (fused_moe/expert_map_manager.py).
        return found + sum(
            4 * row.weight.tensor.shape[0] * len({*layers}.intersection(row.layers))
            for row in self.rows
            if row.weight.tensor.name.endswith("experts.down_proj")
        )

    def after(self, ranks: int) -> Iterable[Held]:
        """Latent attention multiplies by kv_b_proj in two parts, which are views of it in the model's
        format and a copy of it in any other (layers/attention/mla_attention.py, split_kv_b_proj)."""
        if self.spec.model_type == "minicpm3":
            return
        for row in self.rows:
            own = row.weight.tensor.name == "attention.kv_b_proj.weight"
            if own and row.stored.format.name not in PLAIN:
                yield self._absorbed(row, ranks)
        yield from self._repacked(ranks)
        if self.deep_gemm:
            for row in self.rows:
                tensor = row.weight.tensor
                if row.component == "experts" or row.stored.format.tile != 128:
                    continue
                shape = rank_shape(tensor, self._ranks(row, ranks))
                if more := deep_gemm(row.stored.format, shape):
                    yield Held(changed(row, bytes_each=0), ((PACKED_SCALES, more),), False)

    def _repacked(self, ranks: int) -> Iterator[Held]:
        """What MXFP4 experts' biases and scales grow by in their kernel's layout."""
        kernel = self.padding
        if kernel is None or not any(row.stored.format.name == "mxfp4" for row in self.rows):
            return
        for row in self.rows:
            tensor = row.weight.tensor
            if row.component != "experts" or tensor.experts_per_token is None:
                continue
            among = self._ranks(row, ranks)
            shape = self._pad(tensor, self._share_of_experts(tensor, among)[0], among)
            if more := self._grown(row.stored.format, shape, kernel):
                yield Held(row, ((REPACKED, more),), False)

    def _grown(self, format: Format, shape: tuple[int, ...], kernel: Padding) -> int:
        """By how much a padded tensor of experts grows in its kernel's layout."""
        return growth(format, shape, kernel.wide_biases, kernel.swizzled)

    def _absorbed(self, row: Row, ranks: int) -> Held:
        """A copy of a rank's kv_b_proj in the model's format."""
        size = _BF16.tensor(rank_shape(row.weight.tensor, self._ranks(row, ranks)))
        return Held(row, ((ABSORBED, size),), False)

    why: ClassVar[dict[str, str]] = {
        VOCABULARY: "to a multiple of 64 rows, then divided",
        ROUTER: "the class's gate, whole on each rank",
        CORRECTION: "the class keeps them as float32 parameters",
        FLOAT32: "the class keeps them so, whatever the model's format",
        HEAD_BIAS: "the Transformers backend's head has none",
        OWN_HEAD: "the class ties its head, or does not, whatever the checkpoint does",
        SCALES_FP32: "a scale of a block, a channel or a matrix is float32, whatever it is stored in",
        INPUT_SCALES: "one for gate and up together",
        SHAPES: "once for matrices that are fused",
        SCALES: "of queries, keys and values, until they are loaded",
        EXPERT_BIASES: "zeros, whatever the model has",
        GROUP_INDEX: "not needed where the checkpoint does not sort by activation",
        KEY_BIASES: "one tensor holds the biases of q, k and v",
        PADDED: "as the kernel wants the inner width of a rank and the hidden size",
        REPACKED: "biases become float32, scales whole tiles, as the experts' kernel wants them",
        PACKED_SCALES: "a byte for every row of a block, four in a word, as DeepGEMM wants them there",
        ABSORBED: "kv_b_proj once more in 16 bits, in the two parts that decoding multiplies by",
        NO_TOWERS: "the server takes no media of this model unless it is told to",
        TOWER: "the width within a layer to a multiple of 8",
        EXPERTS: "expert parallelism: each rank has experts of its own, whole",
        REPLICAS: "data parallelism divides the attention's requests; experts stand once, among all ranks",
    }

    @property
    def notes(self) -> tuple[str, ...]:
        return ()


def _is_vocabulary(tensor: ParamTensor) -> bool:
    return tensor.shard is not None and any(part.pad for part in tensor.shard.parts)


def _first_reason(tensor: ParamTensor, ranks: int) -> str:
    """Why a share is not the tensor by the number of ranks."""
    if tensor.shard is None:
        return WHOLE
    if any(part.replicate and part.units % ranks for part in tensor.shard.parts):
        return SHARED_HEADS
    return VOCABULARY if _is_vocabulary(tensor) else UNEVEN
