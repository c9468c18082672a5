"""Multi-token-prediction layers: which block each is made from, where the checkpoint defines it.

No causal model of transformers builds them, so a family reads the trunk alone. Elsewhere their
number is known and their tensors are not: they are named as left out. Sources of what each stores:
deepseek_v3: the tensors of DeepSeek-V3's index (see kvcalc/stack/mtp.py); glm4_moe, glm_moe_dsa,
qwen3_5, nemotron_h: vLLM models/glm4_moe_mtp.py, deepseek_mtp.py, qwen3_5_mtp.py, nemotron_h_mtp.py;
mimo: vLLM models/mimo_mtp.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.stack.mtp import MultiTokenPrediction

# model_type -> whether the checkpoint stores copies of embedding and head with each module.
_COPIES = {
    "deepseek_v3": True, "deepseek_v32": True, "glm4_moe": True, "glm_moe_dsa": False,
    "qwen3_5_text": False, "qwen3_5_moe_text": False, "mimo": False, "nemotron_h": False,
}  # fmt: skip
_NEMOTRON = ("*E", ["attention", "moe"], ["full_attention", "moe"])


def with_mtp(spec: ModelSpec, c: Config, own_type: Any, values: Mapping[str, Any]) -> ModelSpec:
    """The spec with its multi-token-prediction layers, or with their number in ``left_out``.

    own_type: the model_type that the file states. values: the keys of the language model.
    """
    modules = c.mtp_modules()
    if not modules:
        return spec
    model_type = own_type if own_type in _COPIES else c.model_type
    found = _block(spec, model_type, values) if model_type in _COPIES else None
    if found is None:
        plural = "s" if modules > 1 else ""
        left_out = (f"{modules} multi-token-prediction layer{plural}", *spec.left_out)
        return replace(spec, left_out=left_out)
    name, block = found
    copies = spec.vocab_size if _COPIES[model_type] else None
    return replace(
        spec,
        blocks={**spec.blocks, name: block},
        mtp=MultiTokenPrediction(num_layers=modules, block=name, vocab_size=copies),
    )


def _block(spec: ModelSpec, model_type: str, values: Mapping[str, Any]) -> tuple[str, Block] | None:
    """The block of one module: the last of the trunk's that has what a module has."""
    if values.get("mtp_use_dedicated_embeddings") or values.get("mtp_layer_types"):
        return None
    if model_type == "nemotron_h":
        stated = values.get("mtp_hybrid_override_pattern") or values.get("mtp_layers_block_type")
        if stated not in _NEMOTRON or not {"*", "E"} <= spec.blocks.keys():
            return None
        return "mtp", Block(attention=spec.blocks["*"].attention, ffn=spec.blocks["E"].ffn)
    indexed = model_type in ("deepseek_v32", "glm_moe_dsa")
    dense = model_type in ("mimo", "qwen3_5_text")
    for group in reversed(spec.layers):
        for name in reversed(group.names):
            block = spec.blocks[name]
            attention, ffn = block.attention, block.ffn
            if attention is None or ffn is None or (ffn.kind == "moe") == dense:
                continue
            if not indexed or getattr(attention, "indexer", None) is not None:
                return name, block
    return None
