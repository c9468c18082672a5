"""vLLM's slots for LoRA adapters, set aside when the model is loaded (lora/model_manager.py).

* ``--max-loras`` slots of ``--max-lora-rank``, which is one of 1, 8, 16, 32, 64, 128, 256, 320 and 512
  (config/lora.py, MaxLoRARanks), in the model's format (lora_dtype auto).
* Every linear layer of the class, or those that ``--lora-target-modules`` names, a packed one (qkv_proj,
  gate_up_proj) whole where any of its parts is named (is_in_target_modules). A packed layer has an A for
  each part (MergedQKVParallelLinearWithLoRA); one that the checkpoint packs has one.
* Stacked experts: a pair for each expert, gate and up with an A each (lora/layers/fused_moe.py,
  FusedMoEWithLoRA); gpt-oss, whose files hold both as one, with one A (FusedMoE3DWithLoRA).
* A of a column-parallel layer and B of a row-parallel one stand whole on every rank, unless
  ``--fully-sharded-loras`` divides the rank of A and the outputs of B; layers that stand whole do anyway.
* The token table and the head where the class lists them (embedding_modules): the vocabulary unpadded,
  whole on every rank, and not above 258,048 for a head (LogitsProcessorWithLoRA).

Read in 0.33.0 and run: LoRAModelManager itself on 33 classes and 22 mixtures on the meta device, at TP 1
and 2 (tests/engines/test_adapters.py); others are refused.
"""

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.adapters import Adapted, Adapters
from kvcalc.spec.model import ModelSpec

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_BYTES = 2
_MOST_TOKENS = 258048
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
    **dict.fromkeys((
        "qwen3_moe", "granitemoe", "granitemoeshared", "granitemoe_swa", "mixtral", "exaone_moe",
        "llama4_text",
    ), _BOTH),
    **dict.fromkeys((
        "hunyuan_v1_moe", "solar_open", "aria_text", "kolibri1", "mellum", "dots1", "flex_olmo",
        "phimoe",
    ), _TABLE_ALONE),
    **dict.fromkeys((
        "qwen2_moe", "olmoe", "gpt_oss", "ernie4_5_moe", "laguna", "deepseek_v2", "deepseek_v3",
    ), _NEITHER),
}  # fmt: skip
# Layers of a class that get no slots, by peft's names: packed_modules_mapping leaves Granite's input_linear
# out, and the routers of two are no linear layers.
_WITHOUT = {
    "granitemoeshared": ("input_linear",), "granitemoe_swa": ("input_linear",),
    "aria_text": ("router",), "kolibri1": ("gate",),
}  # fmt: skip
# Classes whose experts have one A for gate and up (is_3d_moe_weight).
_ONE_A = frozenset(("gpt_oss",))


@frozen
class VllmReservation:
    """Slots for all layers that adapters may change."""

    words: str = "vLLM"

    def rank_bytes(self, adapters: Adapters, spec: ModelSpec, ranks: int) -> int:
        """On one tensor rank. Raises UsageError for a rank that vLLM has no slots for."""
        rank = slot_rank(adapters.rank)
        layers = _layers(adapters, spec)
        elements = sum(
            layer.on_rank(rank, ranks, _slices(layer, spec), adapters.sharded) for layer in layers
        )
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
    words = adapters.named_whole
    kind = spec.model_type or spec.name
    if kind not in _ENDS:
        raise UnsupportedError(
            f"--max-loras: the slots that vLLM sets aside for {kind} are not accounted for"
        )
    if kind == "qwen3_moe" and any(layer.name == "gate_proj" for layer in adapters.every):
        raise UnsupportedError(
            "--max-loras: vLLM gives gate_up_proj of Qwen3-MoE's dense layers slots where the config lists "
            "them as mlp_only_layers alone, which the spec does not say"
        )
    without = _WITHOUT.get(kind, ())
    odd = next((word for word in adapters.named if word in without), None)
    if odd is not None:
        raise UnsupportedError(
            f"--lora-modules {odd}: vLLM's class of {kind} takes no adapters there"
        )
    return tuple(
        layer
        for layer in adapters.every
        if (layer.name in words if words else layer.name not in without)
    )


def _slices(layer: Adapted, spec: ModelSpec) -> int:
    """Matrices A of a layer: stacked experts keep gate and up in one tensor."""
    both = layer.experts and layer.tensors[0].fused == 2
    return 2 if both and spec.model_type not in _ONE_A else 1


def _ends(spec: ModelSpec, rank: int) -> int:
    """Elements of a slot for the token table and the head."""
    table, head = _ENDS[spec.model_type or ""]
    if head and spec.vocab_size > _MOST_TOKENS:
        raise UnsupportedError(
            f"--max-loras: vLLM takes no adapters with {spec.vocab_size} tokens (at most {_MOST_TOKENS})"
        )
    return (table + head) * rank * (spec.vocab_size + spec.hidden_size)
