"""A spec as the config.json of its transformers twin: the inverse of kvcalc/convert.

``twin_of`` gives the model_type, the class to build and the config's values. Field names are those
of transformers 5.23's configuration classes (models/<model_type>/configuration_<model_type>.py);
each family's are written in kvcalc/verify/twins/families.

What a configuration class lays down by itself is left to it: which layers have a window (Gemma,
gpt-oss, Command, OLMo 3), which have attention (Qwen3-Next, Jamba, RecurrentGemma), where experts
begin. So a spec whose layers stand in another order than the class's meets a twin that differs.
Where the class has no rule, the order of layers is the spec's own and is listed in ``unconfirmed``.

Nothing here imports torch; tests read the values back with kvcalc.convert.
"""

from dataclasses import replace

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.twins.families import deepseek, encoders, gemma, gpt, hybrid, llama, moe, qwen
from kvcalc.verify.twins.published_layers import PUBLISHED
from kvcalc.verify.twins.stack import Stack
from kvcalc.verify.twins.values import Values, Writer

# How a config of each of the specs' model types is written, by the kind of class it is built with.
WRITERS: dict[str, dict[str, Writer]] = {
    "causal": {
        **llama.CAUSAL, **qwen.CAUSAL, **gemma.CAUSAL, **moe.CAUSAL, **deepseek.CAUSAL,
        **hybrid.CAUSAL, **gpt.CAUSAL,
    },
    "base": encoders.BASE,
    "seq2seq": encoders.SEQ2SEQ,
}  # fmt: skip
# Where the twin has a model_type of its own: a text model published inside of a multimodal one, or
# another name for DeepSeek-V3's.
TWIN_TYPES = {
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text",
    "glm5_next": "glm5_next_text",
    "kimi_k2": "deepseek_v3",
    "kimi_k25": "deepseek_v3",
    "llama4": "llama4_text",
    "minimax_m3_vl": "minimax_m3_vl_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen4_exp": "qwen4_exp_text",
}
# Whole models whose language model is a type of its own under no name that a spec would have.
_WHOLE = (
    "aya_vision", "cohere_compass", "gemma3", "glm4v", "glm4v_moe", "glm_ocr", "hunyuan_vl", "idefics3",
    "internvl", "lfm2_vl", "llava", "llava_next", "llava_onevision", "mistral3", "muse_glimmer",
    "paddleocr_vl", "paligemma", "phi4_multimodal", "qwen2_5_omni", "qwen2_5_vl", "qwen2_audio",
    "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm", "voxtral",
)  # fmt: skip
# Model types that are in a repository's own code only.
NO_TWIN = {
    "hunyuan": "Hunyuan-Large is remote code; transformers has hunyuan_v1_dense and hunyuan_v1_moe",
    "deepseek": "DeepSeekMoE is remote code",
    "deepseek_vl_v2": "DeepSeek-VL2 is remote code",
    "dots_ocr": "dots.ocr is remote code",
    "kimi_k3": "Kimi-K3 is remote code",
    "kimi_vl": "Kimi-VL is remote code",
    "minicpmv": "MiniCPM-V is remote code",
    "minimax_vl_01": "MiniMax-VL-01 is remote code",
    "phi3_v": "Phi-3-vision is remote code",
    "mllama": "its cross-attention needs an image, which kvcalc does not run",
    "ouro": "Ouro is remote code",
    "rwkv6": "RWKV-6 is remote code",
    "rwkv7": "RWKV-7 is remote code",
    "step3_vl": "Step-3 is remote code",
    "step3p7": "its config states heads per layer kind in a way that kvcalc does not write",
    "mimo": "MiMo-7B is remote code",
    "mimo_v2": "MiMo-V2.5 is remote code",
    "bailing_moe": "Ling is remote code",
    "nanbeige": "Nanbeige 4.2 is remote code",
    "nemotron-nas": "Llama 3.3 Nemotron Super is remote code",
    **dict.fromkeys(
        _WHOLE,
        "kvcalc writes no config of a whole multimodal model; tests/convert holds its parameters to "
        "transformers' class, and its language model has the layers of specs that have twins",
    ),
    "zamba": "its states are split by mixer head; tests/convert holds its bytes to the class's",
}
# Types whose config lists its layers one by one: nothing but the spec says which is which.
_LISTED = {
    "bamba": "attn_layer_indices", "deepseek_v4": "layer_types", "gemma4": "layer_types",
    "gemma4_unified": "layer_types", "glm_moe_dsa": "indexer_types",
    "glm5_next": "layer_types",
    "granitemoehybrid": "layer_types", "kimi_linear": "linear_attn_config",
    "lfm2": "full_attn_idxs", "lfm2_moe": "layer_types", "nemotron_h":
    "layers_block_type", "qwen4_exp": "layer_types", "zamba2": "layers_block_type",
}  # fmt: skip
_FORCED_TIE = (
    "transformers 5 ties the head of T5 and mT5 whatever the config says; "
    "this checkpoint has one of its own, which the twin lacks"
)
_IDENTITY_ROWS = (
    "transformers 5.23 allocates gate_up_proj for LongCat-Flash's identity experts as well, which "
    "have no weights (LongcatFlashExperts); those rows are left out of the twin's count"
)


@frozen(kw_only=True)
class Twin:
    """The transformers model that a spec describes.

    model_type: of its config. kind: which class of it: causal, seq2seq or base (without a head).
    values: the config's. spec: what the twin can be held to; not the spec itself where difference
    says why transformers builds another model.
    unconfirmed: what the twin took from the spec and transformers has no rule of its own for.
    """

    model_type: str
    kind: str
    values: Values
    spec: ModelSpec
    difference: str = ""
    unconfirmed: tuple[str, ...] = ()


def twin_of(spec: ModelSpec) -> Twin:
    """The transformers model of a spec. Raises UnsupportedError, with the reason, without one."""
    model_type = spec.model_type
    if model_type is None:
        raise UnsupportedError(f"{spec.name}: the spec names no model_type, so it has no twin")
    if model_type in NO_TWIN:
        raise UnsupportedError(f"{spec.name}: {NO_TWIN[model_type]}")
    kind = next((kind for kind, writers in WRITERS.items() if model_type in writers), None)
    if kind is None:
        raise UnsupportedError(
            f"{spec.name}: kvcalc does not write configs of model_type '{model_type}' yet; "
            f"it writes {sum(map(len, WRITERS.values()))} others"
        )
    difference, built = "", spec
    if spec.towers:
        difference = (
            "the twin is its language model: towers are held to their classes by tests/convert"
        )
        built = replace(spec, towers={}, checkpoint=None)
    if model_type in ("t5", "mt5") and spec.tie_word_embeddings is False:
        difference, built = _FORCED_TIE, replace(spec, tie_word_embeddings=True)
    elif model_type == "longcat_flash":
        difference = _IDENTITY_ROWS
    listed = None if spec.name in PUBLISHED else _LISTED.get(model_type)
    return Twin(
        model_type=TWIN_TYPES.get(model_type, model_type),
        kind=kind,
        values=WRITERS[kind][model_type](Stack(spec)),
        spec=built,
        difference=difference,
        unconfirmed=(f"{listed}: the order of layers is the spec's own",) if listed else (),
    )
