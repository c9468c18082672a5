"""vLLM's slots for LoRA adapters, set aside when the model is loaded (lora/model_manager.py).

* ``--max-loras`` slots of ``--max-lora-rank``, which is one of 1, 8, 16, 32, 64, 128, 256, 320 and 512
  (config/lora.py, MaxLoRARanks), in the model's format (lora_dtype auto).
* Every linear layer of the class, or those that ``--lora-target-modules`` names, a packed one (qkv_proj,
  gate_up_proj) whole where any of its parts is named (is_in_target_modules). A packed layer has an A for
  each part (MergedQKVParallelLinearWithLoRA); one that the checkpoint packs has one.
* A of a column-parallel layer and B of a row-parallel one stand whole on every rank (fully_sharded_loras
  is off).
* The token table and the head where the class lists them (embedding_modules): the vocabulary unpadded,
  whole on every rank, and not above 258,048 for a head (LogitsProcessorWithLoRA).

Read in 0.33.0 and run: LoRAModelManager itself on 33 classes on the meta device, at TP 1 and 2, and on the
attention of 20 mixtures (tests/engines/test_adapters.py); others are refused.
"""

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.adapters import Adapted, Adapters
from kvcalc.spec.model import ModelSpec

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_BYTES = 2
_MOST_TOKENS = 258048
_PACKED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
# By model_type, of the classes that were run: whether they list the token table, and the head.
_BOTH, _TABLE_ALONE, _NEITHER = (True, True), (True, False), (False, False)
_ENDS: dict[str, tuple[bool, bool]] = {
    **dict.fromkeys((
        "llama", "ernie4_5", "exaone4", "granite", "granite_swa", "hyperclovax", "nemotron", "phi3",
        "qwen3",
    ), _BOTH),
    **dict.fromkeys((
        "ministral", "arcee", "cwm", "hunyuan_v1_dense", "helium", "jais2", "nanochat", "seed_oss",
        "smollm3", "vaultgemma", "cohere", "cohere2", "cohere_compass_text", "olmo", "olmo2",
        "olmo3", "glm", "phi",
        "starcoder2",
    ), _TABLE_ALONE),
    **dict.fromkeys((
        "mistral", "ministral3", "gemma", "qwen2", "gemma2", "gemma3_text", "gpt_neox",
    ), _NEITHER),
}  # fmt: skip
# Mixtures whose attention layers were run.
_MIXTURES = frozenset((
    "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe", "granitemoeshared", "granitemoe_swa", "mixtral",
    "gpt_oss", "ernie4_5_moe", "hunyuan_v1_moe", "exaone_moe", "solar_open", "aria_text", "kolibri1",
    "mellum", "laguna", "llama4_text", "dots1", "flex_olmo", "phimoe",
))  # fmt: skip


@frozen
class VllmReservation:
    """Slots for all layers that adapters may change."""

    words: str = "vLLM"

    def rank_bytes(self, adapters: Adapters, spec: ModelSpec, ranks: int) -> int:
        """On one tensor rank. Raises UsageError for a rank that vLLM has no slots for."""
        rank = slot_rank(adapters.rank)
        layers = _layers(adapters, spec)
        elements = sum(layer.on_rank(rank, ranks) for layer in layers)
        if not adapters.named:
            elements += _ends(spec, rank)
        return _BYTES * adapters.count * elements

    def notes(self, adapters: Adapters, spec: ModelSpec) -> tuple[str, ...]:
        """The slots, in vLLM's own words."""
        rank = slot_rank(adapters.rank)
        which = ", ".join(dict.fromkeys(layer.name for layer in _layers(adapters, spec)))
        return (
            f"vLLM sets aside {adapters.count} slots of rank {rank} (--max-loras {adapters.count} "
            f"--max-lora-rank {rank}) for {which}{'' if adapters.named else ' and its tables, if any'}",
        )


def slot_rank(rank: int) -> int:
    """The --max-lora-rank that holds a rank. Raises UsageError where none does."""
    for slot in RANKS:
        if rank <= slot:
            return slot
    raise UsageError(f"--lora-rank {rank}: vLLM's longest --max-lora-rank is {RANKS[-1]}")


def _layers(adapters: Adapters, spec: ModelSpec) -> tuple[Adapted, ...]:
    """The layers that have slots, packed ones whole."""
    words = set(adapters.named)
    for parts in _PACKED:
        if words.intersection(parts):
            words.update(parts)
    chosen = tuple(layer for layer in adapters.every if not words or layer.name in words)
    if spec.model_type in _ENDS:
        return chosen
    attention = all(tensor.component == "attention" for layer in chosen for tensor in layer.tensors)
    if spec.model_type in _MIXTURES and attention:
        return chosen
    what = spec.model_type or spec.name
    if spec.model_type in _MIXTURES:
        what += "'s experts and routers"
    raise UnsupportedError(
        f"--max-loras: the slots that vLLM sets aside for {what} are not accounted for"
        + ("; of its attention they are: --lora-modules" if spec.model_type in _MIXTURES else "")
    )


def _ends(spec: ModelSpec, rank: int) -> int:
    """Elements of a slot for the token table and the head."""
    table, head = _ENDS[spec.model_type or ""]
    if head and spec.vocab_size > _MOST_TOKENS:
        raise UnsupportedError(
            f"--max-loras: vLLM takes no adapters with {spec.vocab_size} tokens (at most {_MOST_TOKENS})"
        )
    return (table + head) * rank * (spec.vocab_size + spec.hidden_size)
