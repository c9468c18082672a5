"""Which models transformers' continuous batching runs, release 5.24.0.

Small random models of each type answered as ``generate`` does, or failed, with sdpa on a CPU
(tests/engines/transformers_cb.json); of types around a text model six were run, with text alone.
"""

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import ModelSpec

RELEASE = "5.24.0"
# Types that answered as generate does.
RUNS = frozenset((
    "afmoe", "apertus", "apertus1p5_text", "arcee", "aria_text", "bitnet", "codegen", "cohere",
    "cohere2", "cohere2_moe", "cohere_compass_text", "cwm", "dbrx", "diffllama", "dots1",
    "ernie4_5", "ernie4_5_moe", "exaone", "exaone4", "exaone_moe", "flex_olmo", "flint", "gemma",
    "gemma2", "gemma3", "gemma3_text", "gemma3n_text", "glm", "glm4", "glm4_moe", "got_ocr2",
    "gpt2", "gpt_bigcode", "gpt_oss", "gptj", "granite", "granite_swa", "granitemoe",
    "granitemoe_swa", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3",
    "hyperclovax", "idefics3", "internlm3", "internvl", "iquestcoder", "jais2", "kolibri1",
    "laguna", "llama", "llava", "mellum", "minimax_m2", "ministral", "ministral3", "mistral",
    "mistral3", "mixtral", "nanochat", "olmo", "olmo2", "olmo3", "olmoe", "openai-gpt", "persimmon",
    "phi", "phi3", "phi4_multimodal", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
    "sarvam_moe", "seed_oss", "smollm3", "solar_open", "starcoder2", "vaultgemma",
))  # fmt: skip
# Of these, classes whose plan for tensor parallel ranks names no k_proj and v_proj: heads stay whole.
UNDIVIDED = frozenset((
    "afmoe", "bitnet", "codegen", "dbrx", "diffllama", "flint", "gpt2", "gpt_bigcode", "gpt_oss",
    "gptj", "granitemoe", "granitemoeshared", "hunyuan_v1_dense", "hunyuan_v1_moe", "openai-gpt",
    "persimmon", "phi3", "phi4_multimodal", "phimoe",
))  # fmt: skip
# Why the others fail.
_FAILS = {
    **dict.fromkeys(
        (
            "nemotron", "stablelm",
),
        "its class passes the attention no lengths of sequences",
    ),
    **dict.fromkeys(
        (
            "bailing_hybrid", "bamba", "deepseek_v32", "deepseek_v4", "falcon_h1", "falcon_mamba",
            "glm_moe_dsa", "granitemoehybrid", "jamba", "kimi_linear", "lara_mini", "lfm2",
            "lfm2_moe", "lfm3", "llama4", "llama4_text", "mamba", "mamba2", "minimax",
            "minimax_m3_vl", "minimax_m3_vl_text", "nemotron_h", "olmo_hybrid", "qwen3_5",
            "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "recurrent_gemma",
            "zamba", "zamba2",
),
        "its layers are neither full nor sliding attention (group_layers_by_attn_type)",
    ),
    **dict.fromkeys(
        (
            "gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text",
),
        "its layers' heads are of several widths, and the pages are of one",
    ),
    **dict.fromkeys(
        (
            "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "blenderbot",
            "bloom", "camembert", "ctrl", "data2vec-text", "electra", "ernie", "falcon", "marian",
            "mbart", "megatron-bert", "opt", "pegasus", "plbart", "rembert", "roberta",
            "roberta-prelayernorm", "xglm", "xlm-roberta", "xlm-roberta-xl",
),
        "its class asks the cache for its length, which the paged one does not say",
    ),
    **dict.fromkeys(
        (
            "axk1", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "kimi_k2", "kimi_k25",
            "longcat_flash", "mimo_v2_flash", "minicpm3", "sarvam_mla", "youtu",
),
        "its class caches latents, and the pages are of heads",
    ),
    **dict.fromkeys(
        (
            "rwkv", "xlstm",
),
        "its config names no heads",
    ),
    **dict.fromkeys(
        (
            "gpt_neo", "gpt_neox", "gpt_neox_japanese",
),
        "its class calls the cache in another way",
    ),
}  # fmt: skip


def check_model(spec: ModelSpec, version: str | None) -> None:
    """Raises UnsupportedError, by name, for a model that it does not run and a release not read."""
    if version is not None and version.removeprefix("v") not in (RELEASE, "5.24"):
        raise UnsupportedError(
            f"transformers {version}: continuous batching is accounted for in {RELEASE}"
        )
    kind = spec.model_type
    if kind in RUNS:
        return
    said = _FAILS.get(kind or "", "it was not run here")
    raise UnsupportedError(
        f"{spec.name}: transformers {RELEASE} does not run model_type '{kind}' by continuous batching: "
        f"{said}"
    )
