"""SGLang's pool for LoRA adapters (srt/lora/mem_pool.py, LoRAMemoryPool.init_buffers).

* ``--max-loras-per-batch`` slots (8) of ``--max-lora-rank``, any number, in the model's format.
* The layers that ``--lora-target-modules`` names, a packed one whole: A of qkv_proj has three times the
  rank, of gate_up_proj twice (get_stacked_multiply), whatever the checkpoint packs.
* all: every layer, the token table [rank, vocabulary] and [hidden, rank], whole on every rank, and the
  head, whose B ranks divide (get_embedding_lora_A_shape, get_embedding_lora_B_shape). Both stand there
  twice: init_embedding_buffer gives the table's buffers and the head's each one for either name.

* Stacked experts have a pair each, A of gate_up_proj_moe twice the rank; their routers have none. Where the
  model has experts alone there is no pool for dense layers (init_buffers, has_shared_experts).

Held to the class itself (0.5.23) on the meta device. Accounted for where every layer is softmax attention
and a gated feed-forward layer, or all of them experts without shared ones.
"""

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.ffn.moe import MixtureOfExperts
from kvcalc.frozen import frozen
from kvcalc.memory.adapters import Adapted, Adapters
from kvcalc.spec.model import ModelSpec

_BYTES = 2
# The names under which checkpoints pack layers themselves.
_SLICES = {"qkv_proj": 3, "gate_up_proj": 2}
_PAD = 64
_ATTENTION = frozenset(("mha", "mqa", "gqa"))
# How often the tables' buffers are made.
_TIMES = 2


@frozen
class SglangReservation:
    """A pool for the layers that were named, or for all."""

    words: str = "SGLang"

    def rank_bytes(self, adapters: Adapters, spec: ModelSpec, ranks: int) -> int:
        """On one tensor rank."""
        if adapters.sharded:
            raise UsageError("--fully-sharded-loras is vLLM's: leave it out")
        rank = adapters.rank
        elements = sum(
            layer.on_rank(rank, ranks, _slices(layer)) for layer in _layers(adapters, spec)
        )
        if not adapters.named:
            padded = -(-spec.vocab_size // _PAD) * _PAD
            head = padded // ranks if ranks > 1 else spec.vocab_size
            elements += _TIMES * rank * (spec.vocab_size + 2 * spec.hidden_size + head)
        return _BYTES * adapters.count * elements

    def notes(self, adapters: Adapters, spec: ModelSpec) -> tuple[str, ...]:
        """The pool, in SGLang's own words."""
        which = ",".join(adapters.named) or "all"
        return (
            f"SGLang's pool: --max-loras-per-batch {adapters.count} --max-lora-rank {adapters.rank} "
            f"--lora-target-modules {which.replace(',', ' ')}",
        )


def _layers(adapters: Adapters, spec: ModelSpec) -> tuple[Adapted, ...]:
    words = adapters.named_whole
    kinds = {part.kind for block in spec.blocks.values() for part in block.mechanisms()}
    known = _ATTENTION | ({"moe"} if _routed_alone(spec) else {"gated"})
    if not kinds <= known or spec.encoder is not None:
        odd = ", ".join(sorted(kinds - known)) or "encoder"
        raise UnsupportedError(f"--max-loras: SGLang's pool for {odd} layers is not accounted for")
    routers = {each.name for each in adapters.every if each.tensors[0].component == "router"}
    if routers & words:
        raise UnsupportedError(
            f"--lora-modules {min(routers & words)}: SGLang has no pool for routers"
        )
    return tuple(
        layer
        for layer in adapters.every
        if (layer.name in words if words else layer.name not in routers)
    )


def _routed_alone(spec: ModelSpec) -> bool:
    """Whether every feed-forward layer is routed experts, without shared ones."""
    ffns = [block.ffn for block in spec.blocks.values()]
    return all(
        isinstance(ffn, MixtureOfExperts) and not ffn.shared_expert_intermediate_size
        for ffn in ffns
    )


def _slices(layer: Adapted) -> int:
    if layer.experts:
        return layer.tensors[0].fused
    return _SLICES.get(layer.name, 1)
