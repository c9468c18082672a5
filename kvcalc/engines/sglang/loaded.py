"""What SGLang's model classes allocate for a model's weights on one tensor rank.

Its linear layers, vocabularies and experts are adapted from vLLM's (srt/layers/linear.py,
vocab_parallel_embedding.py) and allocate alike; what differs, as of SGLang 0.5.23:

* With replicas of the attention (--enable-dp-attention) attention and the table are divided among the
  ranks of a replica, experts, other layers and the head among all (layers/dp_attention.py).
* Rotary tables are float32 (layers/rotary_embedding/base.py keeps them so on CUDA).
* Quantised tensors: ``kvcalc/engines/sglang/quantised.py``.

What is built here is held to SGLang's own classes on the meta device (tests/engines/sglang_loaded.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import ClassVar

from kvcalc.dtypes import Format
from kvcalc.engines.loaded import UNEVEN, Held
from kvcalc.engines.sglang.buffers import buffer_bytes
from kvcalc.engines.sglang.quantised import (
    attention_scales,
    dropped,
    format_of,
    gptq_experts,
    swizzled,
    whole_scales,
)
from kvcalc.engines.vllm.loaded import GROUP_INDEX, SCALES, SHAPES, Padding, VllmClasses
from kvcalc.frozen import changed
from kvcalc.memory.ledger import Row, rank_shape

_OF_A_REPLICA = ("attention.", "recurrent.")
GPTQ_EXPERTS = "experts as GPTQ's kernel takes them"
ORDERED = "scales of all groups"
DROPPED = "indices and zero points"
SWIZZLED = "scales of experts in tiles"


# NVFP4 experts as ModelOpt's method has them for kernels of FlashInfer's CUTLASS and of Marlin.
TILED = Padding(1, 1)


def _tiled(row: Row, kind: str | None) -> bool:
    """Whether NVFP4's method for experts makes the row's tensor: DeepSeek-V3's shared expert is one of
    them (models/deepseek_v2.py, num_fused_shared_experts)."""
    tensor = row.weight.tensor
    if not row.stored.format.name.startswith("nvfp4"):
        return False
    shared = kind == "deepseek_v3" and ".shared_expert." in row.name
    return shared or (row.component == "experts" and tensor.experts_per_token is not None)


class SglangClasses(VllmClasses):
    """One model's class in SGLang. replicas: of the attention (--dp-size with --enable-dp-attention)."""

    def _ranks(self, row: Row, ranks: int) -> int:
        own = row.name.split("{}.", 1)[-1]
        if row.place == "first" or own.startswith(_OF_A_REPLICA):
            return ranks
        return ranks * self.replicas

    def _beside(self, row: Row, ranks: int) -> Iterator[Held]:
        """The scales of an attention, and those of NVFP4 experts once more in tiles."""
        if scales := attention_scales(row, self.spec, self.by):
            yield Held(changed(row, bytes_each=0), ((SCALES, scales),), False)
        if self.padding is TILED and _tiled(row, self.spec.model_type):
            shape, _ = self._share_of_experts(row.weight.tensor, self._ranks(row, ranks))
            yield Held(changed(row, bytes_each=0), ((SWIZZLED, swizzled(row, shape)),), False)

    def _created(self, row: Row, inner: int) -> Format:
        return format_of(row, inner, self.by)

    def _reason(self, stored: Format, created: Format) -> str:
        if stored.name.endswith("+16"):
            return GROUP_INDEX if created.column_bytes else SHAPES
        return super()._reason(stored, created)

    def _steps(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        """With activations sorted, a matrix cut along its inputs has all scales on every rank."""
        tensor, by = row.weight.tensor, self.by
        cut = tensor.shard is not None and tensor.shard.axis % len(tensor.shape) == 1
        plain = row.stored.format.name.startswith("gptq") and len(tensor.shape) == 2
        if "desc_act" in by and ranks > 1 and plain and cut:
            shape = rank_shape(tensor, ranks)
            yield UNEVEN, row.shape_bytes(shape)
            yield ORDERED, whole_scales(row, shape, tensor.shape[1])
            return
        yield from super()._steps(row, ranks)

    def _experts(self, row: Row, ranks: int) -> Iterator[tuple[str, int]]:
        tensor = row.weight.tensor
        if row.stored.format.name.startswith("gptq") and len(tensor.shape) == 3:
            shape, _ = self._share_of_experts(tensor, ranks)
            among = 1 if self.experts_over else ranks
            yield GPTQ_EXPERTS, gptq_experts(row, shape, among, self.by)
            return
        yield from super()._experts(row, ranks)

    def after(self, ranks: int) -> Iterable[Held]:
        """Latent attention's two parts of kv_b_proj are copies of it, whatever its format
        (models/deepseek_common/deepseek_weight_loader.py, post_load_weights); MiniCPM3's class drops
        the original for them."""
        if self.spec.model_type == "minicpm3":
            return
        for row in self.rows:
            if row.weight.tensor.name == "attention.kv_b_proj.weight":
                yield self._absorbed(row, ranks)
        yield from self._repacked(ranks)
        yield from self._dropped(ranks)

    def _dropped(self, ranks: int) -> Iterator[Held]:
        """What packed integers lose; an order of activations, which keeps some, was not built."""
        for row in self.rows:
            if not row.stored.format.name.startswith(("gptq", "int4", "int8_")):
                continue
            among = self._ranks(row, ranks)
            shape, _ = self._share_of_experts(row.weight.tensor, among)
            if size := dropped(row, shape, "desc_act" in self.by):
                yield Held(changed(row, bytes_each=0), ((DROPPED, -size),), False)

    def _grown(self, format: Format, shape: tuple[int, ...], kernel: Padding) -> int:
        """SGLang's Triton layout drops the numbers as they were loaded, not the scales
        (quantization/mxfp4.py, process_weights_after_loading)."""
        kept = 0
        if kernel.swizzled and format.name == "mxfp4" and len(shape) == 3:
            kept = prod(shape) // 32
        return super()._grown(format, shape, kernel) + kept

    def buffers(self, layers: Sequence[int], ends: tuple[bool, bool]) -> int | None:
        return buffer_bytes(self.spec, layers, ends[0])

    why: ClassVar[dict[str, str]] = {
        **VllmClasses.why,
        GROUP_INDEX: "once for matrices that are fused; of experts always, with its order beside it",
        GPTQ_EXPERTS: "the scales of all ranks' groups of down_proj, zero points in 16 bits, an index of "
        "groups and its order",
        ORDERED: "on every rank, as the checkpoint sorts by activation",
        DROPPED: "set free: Marlin's kernel does not read them",
        SWIZZLED: "the block scales once more in tiles of 128 x 4, as NVFP4's kernel reads them",
    }
