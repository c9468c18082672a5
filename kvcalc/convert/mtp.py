"""Multi-token-prediction layers: which block each is made from, where the checkpoint defines it.

No causal model of transformers builds them, so a family reads the trunk alone. Elsewhere their
number is known and their tensors are not: they are named as left out. Sources of what each stores:
deepseek_v3: the tensors of DeepSeek-V3's index (see kvcalc/stack/mtp.py); glm4_moe, glm_moe_dsa,
qwen3_5, nemotron_h: vLLM models/glm4_moe_mtp.py, deepseek_mtp.py, qwen3_5_mtp.py, nemotron_h_mtp.py;
mimo, mimo_v2, ernie4_5_moe, exaone_moe, exaone4_5, glm_ocr, hy_v3, longcat_flash, qwen3_next, step3p5: vLLM
models/<type>_mtp.py; kimi_k3: vllm/models/kimi_k3/nvidia/mtp.py (no published file has any);
glm4_moe_lite: the index of GLM-4.7-Flash (layers.47.embed_tokens, shared_head.head); deepseek_v4,
minimax_m3: vllm/models/<type>; bailing_hybrid: bailing_moe_v3_mtp.py; glm5_next:
vllm/models/glm5next/common/mtp.py, without residual streams (the files of GLM-5.3-Flash confirm it);
qwen4_exp: vllm/models/qwen4_exp/nvidia/mtp.py.
"""

from collections.abc import Mapping
from typing import Any, Literal

from kvcalc.attention.v4_window import SharedKeyValueWindow
from kvcalc.convert.config import Config
from kvcalc.ffn.gated import GatedFeedForward
from kvcalc.ffn.moe import MixtureOfExperts
from kvcalc.frozen import changed
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.stack.mtp import MultiTokenPrediction

# model_type -> the copies of embedding and head that the checkpoint stores with each module.
_COPIES: dict[str, Literal["", "both", "embedding", "head"]] = {
    "deepseek_v3": "both", "deepseek_v32": "both", "glm4_moe": "both", "glm4_moe_lite": "both",
    "glm_moe_dsa": "", "qwen3_next": "", "qwen3_5_text": "", "qwen3_5_moe_text": "", "mimo": "",
    "nemotron_h": "", "deepseek_v4": "", "longcat_flash": "embedding", "ernie4_5_moe": "",
    "minimax_m3_vl_text": "", "step3p5": "head", "exaone_moe": "", "bailing_hybrid": "",
    "glm_ocr_text": "both", "hy_v3": "", "mimo_v2_flash": "", "exaone4_5": "", "kimi_k3": "",
    "glm5_next_text": "", "qwen4_exp_text": "",
}  # fmt: skip
# All modules of these have one projection and one last norm between them: one module is told, several not.
_ONE_GLUE = frozenset(
    ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "exaone_moe", "exaone4_5", "qwen4_exp_text")
)
# Published files hold none, whatever the config says: MiniMax-M2's total is the trunk and its routers.
_UNPUBLISHED = frozenset(("minimax_m2",))
_NEMOTRON = ("*E", ["attention", "moe"], ["full_attention", "moe"])


def with_mtp(spec: ModelSpec, c: Config, own_type: Any, values: Mapping[str, Any]) -> ModelSpec:
    """The spec with its multi-token-prediction layers, or with their number in ``left_out``.

    own_type: the model_type that the file states. values: the keys of the language model.
    """
    modules = c.mtp_modules()
    if not modules:
        return spec
    model_type = own_type if own_type in _COPIES else c.model_type
    known = model_type in _COPIES and not (modules > 1 and model_type in _ONE_GLUE)
    found = _block(spec, model_type, values) if known else None
    if found is None:
        plural = "s" if modules > 1 else ""
        said = f"{modules} multi-token-prediction layer{plural}"
        if model_type in _UNPUBLISHED:
            said += ", which the published files do not hold"
        left_out = (said, *spec.left_out)
        return changed(spec, left_out=left_out)
    name, block = found
    copies = _COPIES[model_type]
    streamed = model_type in ("deepseek_v4", "qwen4_exp_text")
    streams = spec.hyper_connections.hc_mult if spec.hyper_connections is not None else None
    return changed(
        spec,
        blocks={**spec.blocks, name: block},
        mtp=MultiTokenPrediction(
            num_layers=modules, block=name, vocab_size=spec.vocab_size if copies else None,
            copies=copies or "both",
            projection="separate" if streamed else "fused", folds=streamed,
            final_norm=model_type not in ("ernie4_5_moe", "qwen4_exp_text"),
            hc_mult=streams if model_type == "qwen4_exp_text" else None,
        ),
    )  # fmt: skip


def _block(spec: ModelSpec, model_type: str, values: Mapping[str, Any]) -> tuple[str, Block] | None:
    """The block of one module: the last of the trunk's that has what a module has."""
    if model_type in ("step3p5", "exaone_moe"):
        return _stated(spec, values, first=model_type == "exaone_moe")
    if values.get("mtp_use_dedicated_embeddings") or values.get("mtp_layer_types"):
        return None
    if model_type == "nemotron_h":
        stated = values.get("mtp_hybrid_override_pattern") or values.get("mtp_layers_block_type")
        if stated not in _NEMOTRON or not {"*", "E"} <= spec.blocks.keys():
            return None
        return "mtp", Block(attention=spec.blocks["*"].attention, ffn=spec.blocks["E"].ffn)
    if model_type == "deepseek_v4":
        return _window(spec)
    if model_type == "ernie4_5_moe":
        return _dense(spec, values)
    if model_type == "mimo_v2_flash":
        return _narrow(spec)
    if model_type == "exaone4_5":
        name = spec.layers[0].names[0]
        return name, spec.blocks[name]
    indexed = model_type in ("deepseek_v32", "glm_moe_dsa", "minimax_m3_vl_text", "glm5_next_text")
    dense = model_type in ("mimo", "qwen3_5_text", "longcat_flash", "glm_ocr_text")
    for group in reversed(spec.layers):
        for name in reversed(group.names):
            block = spec.blocks[name]
            attention, ffn = block.attention, block.ffn
            if attention is None or ffn is None or (ffn.kind == "moe") == dense:
                continue
            if not indexed or getattr(attention, "indexer", None) is not None:
                return name, block
    return None


def _dense(spec: ModelSpec, values: Mapping[str, Any]) -> tuple[str, Block] | None:
    """ERNIE 4.5's: the trunk's attention, and a feed-forward layer as its dense layers have."""
    last = spec.blocks[spec.layers[-1].names[-1]]
    width = values.get("intermediate_size")
    if last.attention is None or not isinstance(width, int) or values.get("use_bias"):
        return None
    ffn = GatedFeedForward(kind="gated", intermediate_size=width)
    own = Block(attention=last.attention, ffn=ffn)
    return next(
        ((name, block) for name, block in spec.blocks.items() if block == own), ("mtp", own)
    )


def _narrow(spec: ModelSpec) -> tuple[str, Block] | None:
    """MiMo-V2's: a window's attention, and the dense layer that the first of the trunk has."""
    blocks = list(spec.blocks.values())
    window = next(
        (each for each in blocks if getattr(each.attention, "sliding_window", None) is not None),
        None,
    )
    dense = next((each for each in blocks if isinstance(each.ffn, GatedFeedForward)), None)
    if window is None or dense is None:
        return None
    own = changed(window, ffn=dense.ffn)
    return next(
        ((name, block) for name, block in spec.blocks.items() if block == own), ("mtp", own)
    )


def _stated(spec: ModelSpec, values: Mapping[str, Any], first: bool) -> tuple[str, Block] | None:
    """A dense block of the kind that the file states: in ``mtp_layer_types``, or behind the trunk's layers
    in ``layer_types`` (Step-3.5), or as the first of these (EXAONE-MoE)."""
    number = 0 if first else sum(group.repeat * len(group.names) for group in spec.layers)
    every = list(values.get("layer_types") or ())
    kinds = set(values.get("mtp_layer_types") or every[number : number + 1 if first else None])
    if len(kinds) != 1 or "sparse" in (values.get("mtp_mlp_layer_types") or ()):
        return None
    local = kinds == {"sliding_attention"}
    return next(
        (
            (name, block)
            for name, block in spec.blocks.items()
            if isinstance(block.ffn, GatedFeedForward)
            and (getattr(block.attention, "sliding_window", None) is not None) == local
        ),
        None,
    )


def _window(spec: ModelSpec) -> tuple[str, Block] | None:
    """DeepSeek-V4's: a window alone, and experts that a router chooses."""
    ffns = [
        block.ffn
        for block in spec.blocks.values()
        if isinstance(block.ffn, MixtureOfExperts) and block.ffn.hash_vocab_size is None
    ]
    attention: Any = next(iter(spec.blocks.values())).attention
    if not ffns or attention is None:
        return None
    shape = {name: getattr(attention, name) for name in _SHAPE}
    own = Block(attention=SharedKeyValueWindow(kind="v4_window", **shape), ffn=ffns[0])
    return next(
        ((name, block) for name, block in spec.blocks.items() if block == own), ("mtp", own)
    )


_SHAPE = (
    "num_attention_heads",
    "head_dim",
    "q_lora_rank",
    "o_groups",
    "o_lora_rank",
    "sliding_window",
)
