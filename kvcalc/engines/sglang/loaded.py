"""What SGLang's model classes allocate for a model's weights on one tensor rank.

Its linear layers, vocabularies and experts are adapted from vLLM's (srt/layers/linear.py,
vocab_parallel_embedding.py) and allocate alike; what differs, as of SGLang 0.5.23:

* With replicas of the attention (--enable-dp-attention) attention and the table are divided among the
  ranks of a replica, experts, other layers and the head among all (layers/dp_attention.py).
* Rotary tables are float32 (layers/rotary_embedding/base.py keeps them so on CUDA).
* An FP8 checkpoint gives an attention scales of keys and values, twice where it is latent (attn_mqa and
  attn_mha), where the class hands the format on; Qwen3's does not (layers/quantization/kv_cache.py).

What is built here is held to SGLang's own classes on the meta device (tests/engines/sglang_loaded.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from kvcalc.dtypes import Format
from kvcalc.engines.loaded import Held
from kvcalc.engines.sglang.buffers import buffer_bytes
from kvcalc.engines.vllm.loaded import SCALES, Padding, VllmClasses
from kvcalc.frozen import changed
from kvcalc.memory.ledger import Row

_OF_A_REPLICA = ("attention.", "recurrent.")
_PAIR = 2 * 4  # of keys and of values, float32


class SglangClasses(VllmClasses):
    """One model's class in SGLang. replicas: of the attention (--dp-size with --enable-dp-attention)."""

    def _ranks(self, row: Row, ranks: int) -> int:
        own = row.name.split("{}.", 1)[-1]
        if row.place == "first" or own.startswith(_OF_A_REPLICA):
            return ranks
        return ranks * self.replicas

    def _beside(self, row: Row, ranks: int) -> Iterator[Held]:
        """The scales of an attention whose matrices are FP8."""
        name, kind = row.weight.tensor.name, self.spec.model_type or ""
        if not row.stored.format.name.startswith("fp8") or kind.startswith("qwen3"):
            return
        pairs = {"attention.k_proj.weight": 1, "attention.kv_b_proj.weight": 2}.get(name)
        if pairs:
            yield Held(changed(row, bytes_each=0), ((SCALES, pairs * _PAIR),), False)

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

    def _grown(self, format: Format, shape: tuple[int, ...], kernel: Padding) -> int:
        """SGLang's Triton layout drops the numbers as they were loaded, not the scales
        (quantization/mxfp4.py, process_weights_after_loading)."""
        kept = 0
        if kernel.swizzled and format.name == "mxfp4" and len(shape) == 3:
            kept = prod(shape) // 32
        return super()._grown(format, shape, kernel) + kept

    def buffers(self, layers: Sequence[int], ends: tuple[bool, bool]) -> int | None:
        return buffer_bytes(self.spec, layers, ends[0])
