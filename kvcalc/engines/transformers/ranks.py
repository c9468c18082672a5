"""What ranks of ``tp_plan="auto"`` hold of a cache: transformers 5.23.0, by the plans of its classes.

Heads are divided where the plan cuts ``k_proj`` by columns and leaves them cut ("colwise"). Where it
gathers them ("colwise_gather_output": OLMo 2, MiniMax-M2, the fused matrix of Phi-3), or names no
projection of attention (Hunyuan, AFMoE), every rank has all heads and caches all of them; so it is with
recurrent states, whose projections are gathered or not named in every plan. Seen on two ranks of gloo:
llama, gpt_neox and the attention of qwen3_next have half of the heads, phi3 and olmo2 all of them, and
qwen3_next's states are whole. Weights follow the plan, too: what has none is refused by name.
"""

from kvcalc.spec.model import ModelSpec

# Types, of text models and of those around one, whose ranks have their share of the key and value heads.
DIVIDED = frozenset((
    "apertus", "arcee", "aria", "aria_text", "audioflamingo3", "aya_vision", "beam", "cohere",
    "cohere2", "cohere2_moe", "cohere2_vision", "cohere_compass", "cohere_compass_text",
    "cosmos3_edge", "cosmos3_edge_text", "cwm", "deepseek_ocr2", "deepseek_ocr2_encoder",
    "deepseek_ocr2_text", "deepseek_vl", "deepseek_vl_hybrid", "diffusion_gemma",
    "diffusion_gemma_text", "doge", "dots1", "embedding_gemma2", "embedding_gemma2_text",
    "ernie4_5", "ernie4_5_moe", "ernie4_5_vl_moe", "ernie4_5_vl_moe_text", "esmc", "eurobert",
    "exaone4", "exaone4_5", "exaone_moe", "fast_vlm", "fun_asr_nano", "gemma", "gemma2", "gemma3",
    "gemma3_text", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified",
    "gemma4_unified_assistant", "gemma4_unified_text", "gemma4_vision", "glm", "glm4", "glm46v",
    "glm4_moe", "glm4v", "glm4v_moe", "glm4v_moe_text", "glm4v_text", "glm_image", "glm_image_text",
    "glm_ocr", "glm_ocr_text", "glmasr", "glmga", "got_ocr2", "gpt_neox", "granite",
    "granite4_vision", "granite4_vision_text", "granite_docling", "granite_docling_text",
    "granite_speech", "granite_speech_plus", "granite_swa", "granitemoe_swa", "helium",
    "higgs_audio_v2", "hrm_text", "hy_v3", "hyperclovax", "hyperclovax_vision_v2", "idefics2",
    "idefics3", "internlm3", "internvl", "iquestcoder", "jais2", "janus", "jev", "kolibri1",
    "laguna", "lighton_ocr", "llama", "llama4", "llama4_text", "llama4_vision_model", "llava",
    "llava_next", "llava_next_video", "llava_onevision", "mellum", "mimo_v2_flash", "minicpm_ocr",
    "minicpmv4_6", "minicpmv4_7", "minimax", "ministral", "ministral3", "mistral", "mistral3",
    "mixtral", "moss_transcribe_diarize", "muse_glimmer", "muse_glimmer_assistant",
    "muse_glimmer_text", "muse_glimmer_vision", "musicflamingo", "nanochat", "nemotron", "neomme",
    "olmo", "ovis2", "paddleocr_vl", "paddleocr_vl_text", "paligemma", "perception_lm", "phi",
    "pp_chart2table", "qianfan_ocr", "qwen2", "qwen2_5_omni_text", "qwen2_5_omni_thinker",
    "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_audio", "qwen2_moe", "qwen2_vl", "qwen2_vl_text",
    "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_asr", "qwen3_moe",
    "qwen3_next", "qwen3_omni_moe_talker_code_predictor", "qwen3_omni_moe_talker_text",
    "qwen3_omni_moe_text", "qwen3_omni_moe_thinker", "qwen3_vl_moe", "qwen3_vl_moe_text",
    "seed_oss", "shieldgemma2", "smollm3", "smolvlm", "solar_open", "starcoder2", "t5_gemma_module",
    "t5gemma2_decoder", "t5gemma2_encoder", "t5gemma2_text", "ultrabert", "ultravbert",
    "unlimited_ocr", "unlimited_ocr_text", "vaultgemma", "vibevoice", "vibevoice_asr",
    "video_llama_3", "video_llava", "vipllava", "voxtral", "voxtral_realtime",
    "voxtral_realtime_text",
))  # fmt: skip

# Types without a plan, whose classes have none either: tp_plan="auto" raises ValueError.
_NO_PLAN = frozenset((
    "bart", "bert", "bitnet", "bloom", "electra", "falcon", "falcon_mamba", "gpt2", "gpt_bigcode",
    "gpt_neo", "gptj", "m2m_100", "mamba", "mamba2", "mbart", "mllama", "mpt", "mt5", "opt", "pegasus",
    "recurrent_gemma", "roberta", "rwkv", "stablelm", "t5", "whisper", "xlm-roberta", "xlstm", "zamba",
    "zamba2",
))  # fmt: skip
# Types whose classes divide the head alone: gpt_oss on two ranks kept all of its layers on each.
_HEAD_ALONE = frozenset(("bamba", "dbrx", "falcon_h1", "gpt_oss", "hunyuan_v1_dense", "lfm2"))


def no_ranks(spec: ModelSpec) -> str | None:
    """Why transformers does not divide a model among ranks; None where it does."""
    if spec.model_type in _NO_PLAN:
        return f"transformers has no tensor-parallel plan for model_type '{spec.model_type}'"
    if spec.model_type in _HEAD_ALONE:
        return (
            f"transformers' tensor-parallel plan for model_type '{spec.model_type}' divides the head "
            "alone: every rank holds all layers, so --tp saves nothing; leave it out"
        )
    return None


def heads_are_divided(spec: ModelSpec) -> bool:
    """Whether ranks share the KV heads; a spec without a model_type is divided as Llama is."""
    return spec.model_type is None or spec.model_type in DIVIDED
