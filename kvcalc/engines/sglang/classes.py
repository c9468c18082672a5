"""SGLang 0.5.23's class for each model_type, and what it does that the mechanisms do not say.

Read in sglang/srt/models/; what was built is in LOADED.md. A type that is not here runs through SGLang's
Transformers backend, or not at all.
"""

from kvcalc.engines.vllm.classes import TOWERS, ModelClass

_PLAIN = {
    "arcee": "ArceeForCausalLM", "cohere": "CohereForCausalLM", "cohere2": "Cohere2ForCausalLM",
    "cohere2_moe": "Cohere2MoeForCausalLM", "dbrx": "DbrxForCausalLM", "deepseek_v3":
    "DeepseekV3ForCausalLM", "deepseek_v32": "DeepseekV32ForCausalLM", "falcon_mamba":
    "FalconMambaForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM", "glm4":
    "Glm4ForCausalLM", "glm_moe_dsa": "GlmMoeDsaForCausalLM", "gpt2": "GPT2LMHeadModel", "gpt_oss":
    "GptOssForCausalLM", "gptj": "GPTJForCausalLM", "granite": "GraniteForCausalLM", "granite_swa":
    "GraniteForCausalLM", "granitemoe_swa": "GraniteMoeSWAForCausalLM", "granitemoe":
    "GraniteMoeForCausalLM", "granitemoehybrid": "GraniteMoeHybridForCausalLM", "granitemoeshared":
    "GraniteMoeSharedForCausalLM", "kimi_k2": "DeepseekV3ForCausalLM", "llama": "LlamaForCausalLM",
    "llama4_text": "Llama4ForCausalLM", "mamba": "MambaForCausalLM", "mellum": "MellumForCausalLM",
    "minicpm3": "MiniCPM3ForCausalLM", "ministral3": "Ministral3ForCausalLM", "mistral":
    "MistralForCausalLM", "mixtral": "MixtralForCausalLM", "nemotron_h": "NemotronHForCausalLM", "olmo":
    "OlmoForCausalLM", "opt": "OPTForCausalLM", "persimmon": "PersimmonForCausalLM", "phi3":
    "Phi3ForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM", "qwen3":
    "Qwen3ForCausalLM", "qwen3_5": "Qwen3_5ForCausalLM", "qwen3_5_moe": "Qwen3_5MoeForCausalLM",
    "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM", "qwen3_5_text": "Qwen3_5ForCausalLM", "qwen3_moe":
    "Qwen3MoeForCausalLM", "qwen3_next": "Qwen3NextForCausalLM", "stablelm": "StableLmForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM",
}  # fmt: skip
_NORMS = ("layers.{}.attention.q_norm.weight", "layers.{}.attention.k_norm.weight")
_TABLE = ("embedding.weight",)

CLASSES: dict[str, ModelClass] = {
    **{kind: ModelClass(name) for kind, name in _PLAIN.items()},
    "deepseek_v2": ModelClass("DeepseekV2ForCausalLM", own_head=True),
    "ernie4_5_moe": ModelClass("Ernie4_5_MoeForCausalLM"),
    "gemma3_text": ModelClass("Gemma3ForCausalLM", whole=_TABLE),
    "glm4_moe": ModelClass("Glm4MoeForCausalLM", router=True),
    "glm4_moe_lite": ModelClass("Glm4MoeLiteForCausalLM", router=True),
    "kimi_linear": ModelClass(
        "KimiLinearForCausalLM", kept=("recurrent.conv1d.weight",), plain_corrections=True
    ),
    "laguna": ModelClass("LagunaForCausalLM", router=True, kept=("ffn.router.bias",)),
    "lfm2": ModelClass("Lfm2ForCausalLM", own_head=True),
    "lfm2_moe": ModelClass("Lfm2MoeForCausalLM", own_head=True),
    "minimax_m2": ModelClass("MiniMaxM2ForCausalLM", router=True),
    "olmo2": ModelClass("Olmo2ForCausalLM", whole=_NORMS),
    "olmo3": ModelClass("Olmo2ForCausalLM", whole=_NORMS),
    "olmoe": ModelClass("OlmoeForCausalLM", own_head=True, whole=_NORMS),
    "whisper": ModelClass(
        "WhisperForConditionalGeneration", whole=_TABLE, key_biases=True, own_head=True
    ),
}

_POSITIONED = (("position_embedding.weight", 0), *TOWERS)
_GEMMA3 = ModelClass("Gemma3ForConditionalGeneration", whole=_TABLE, towers=_POSITIONED)
# The same for models with their towers.
TOWERED: dict[str, ModelClass] = {
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    # Without --enable-multimodal (configs/model_config.py, mm_disabled_models).
    "llama4": ModelClass("Llama4ForConditionalGeneration", no_towers=True),
    "qwen2_5_vl": ModelClass("Qwen2_5_VLForConditionalGeneration", towers=TOWERS, tower_inner=8),
    "qwen3_vl": ModelClass("Qwen3VLForConditionalGeneration", towers=_POSITIONED),
}

# Classes that take part of a config as what its published models have: mixtures of every layer (Qwen),
# heads of hidden_size / num_attention_heads (Mixtral, MiniCPM3, OLMoE), eight groups of states
# (Nemotron-H). Answered for the models that ship, which were built.
AS_PUBLISHED = ("qwen2_moe", "qwen3_moe", "mixtral", "minicpm3", "olmoe", "nemotron_h", "dbrx")

# Why a model has no class there: SGLang's Transformers backend refuses transformers' own.
_REFUSED = "its Transformers backend refuses transformers'"
ABSENT: dict[str, str] = dict.fromkeys(
    ("falcon", "jamba", "zamba2", "nemotron", "phimoe", "jetmoe", "glm", "flex_olmo"), _REFUSED
)

# Whose attention was built as replicas, and whose quantised checkpoints were.
REPLICATED = (
    "deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "glm4_moe", "qwen3",
    "qwen3_moe",
)  # fmt: skip
QUANTISED = (
    "deepseek_v3", "glm4_moe", "kimi_k2", "llama", "minimax_m2", "mixtral", "phi3", "qwen2", "qwen3",
    "qwen3_moe",
)  # fmt: skip
# Formats in which a class was not built: of those whose shared expert stands among the routed ones, where
# that makes a difference; GLM's blocks that its widths do not fill; Mixtral's own experts.
NOT_BUILT = {
    "deepseek_v3": ("gptq", "int4", "fp8+"),
    "glm4_moe": ("gptq", "int4", "nvfp4", "fp8+", "fp8_block"),
    "mixtral": ("nvfp4", "fp8+"),
}
