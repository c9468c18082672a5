"""The llama.cpp architecture of each model_type, and what is its own in how a file is laid out.

Source: llama.cpp v0.5.0: conversion/*.py (which class converts a model_type, what it fuses or
splits), src/models/<architecture>.cpp (names of a layer's norms) and gguf-py's tensor_mapping.py.
A model_type that is not here is refused by name; ABSENT has those that llama.cpp has nothing for.
"""

from kvcalc.frozen import frozen

_PRE = ("attn_norm", "ffn_norm")
_POST = ("post_attention_norm", "post_ffw_norm")
_FOUR = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
_LATE = ("attn_norm", "post_attention_norm")


@frozen(kw_only=True)
class Architecture:
    """How llama.cpp stores a model_type.

    name: general.architecture; with_experts: that of models with experts, where it is another.
    normed: what holds models of the type whose layers normalise Q and K.
    norms: names of a layer's norms of hidden_size, in kvcalc's order; lone_norm: of a layer that has one
    norm only. final_norm: of the norm after the layers. fused_qkv: query, key and value in one matrix.
    fused_gate_up: gate and up of the dense layers. fused_experts: gate and up of the experts.
    skipped_positions: rows of the position table that the converter leaves out.
    whole_kv_b: MLA's up-projection stays one matrix. mtp: the converter writes the layers that
    predict further tokens. unshared_kv: layers that read another's keys and values have projections
    of their own in the file, unused. kv_everywhere: attention.head_count_kv is one number, although
    some layers have no attention. size_70b: the number of layers that the loader calls 70B.
    renames: llama.cpp's names that differ from the common table (kvcalc/gguf/names.py).
    """

    name: str
    with_experts: str | None = None
    normed: "Architecture | None" = None
    norms: tuple[str, ...] = _PRE
    lone_norm: str = "attn_norm"
    final_norm: str = "output_norm"
    fused_qkv: bool = False
    fused_gate_up: bool = False
    fused_experts: bool = False
    whole_kv_b: bool = False
    mtp: bool = False
    unshared_kv: bool = False
    kv_everywhere: bool = False
    size_70b: int | None = None
    skipped_positions: int = 0
    renames: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> set[str]:
        """Every general.architecture that a model of the type may have."""
        found = {self.name, *(self.normed.names if self.normed is not None else ())}
        return found | {self.with_experts} if self.with_experts else found

    def renamed(self, name: str) -> str:
        """A name of the common table as this architecture has it."""
        for common, own in self.renames:
            if name.startswith(common):
                return own + name.removeprefix(common)
        return name


def _same(name: str, *model_types: str) -> dict[str, Architecture]:
    return dict.fromkeys(model_types, Architecture(name=name))


_LLAMA = Architecture(name="llama", size_70b=80)
_DEEPSEEK2 = Architecture(name="deepseek2")
# Biases of the router that correct its choice alone.
_PROBS = (("ffn_gate_inp.bias", "exp_probs_b.bias"),)
_BERT = Architecture(name="bert", norms=("attn_output_norm", "layer_output_norm"))
# Their position tables begin behind the padding token's (BertModel, _position_offset).
_ROBERTA = Architecture(name="bert", norms=_BERT.norms, skipped_positions=2)

# Model types that it has no architecture for (llama-arch.cpp, conversion/).
ABSENT = frozenset((
    "albert", "bart", "biogpt", "codegen", "ctrl", "diffllama", "electra", "flex_olmo",
    "gpt_neo", "gptj", "helium", "hyperclovax", "jetmoe", "kolibri1", "longcat_flash", "m2m_100", "mbart",
    "nanochat", "olmo_hybrid", "openai-gpt", "opt", "ouro", "pegasus", "persimmon", "recurrent_gemma",
    "rwkv", "vaultgemma", "whisper", "xglm", "xlstm", "zamba", "zamba2",
))  # fmt: skip
# Those that hold multi-head latent attention.
LATENT = (
    "deepseek2",
    "deepseek32",
    "glm-dsa",
    "mistral4",
    "minicpm3",
    "bailingmoe3",
    "kimi-linear",
    "kimi-k3",
)
ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "internlm3", "iquestcoder", "llava"), _LLAMA),
    **_same("llama4", "llama4", "llama4_text"),
    **_same("internlm2", "internlm2"),
    **_same("exaone", "exaone"),
    **_same("minicpm", "minicpm"),
    **_same("deepseek", "deepseek"),
    **_same(
        "qwen2vl", "qwen2_5_omni", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"
    ),
    **_same("qwen3vl", "qwen3_vl", "qwen3_vl_text"),
    **_same("qwen3vlmoe", "qwen3_vl_moe", "qwen3_vl_moe_text"),
    **_same("mistral3", "mistral3", "ministral3"),
    **_same("starcoder2", "starcoder2"),
    **_same("arcee", "arcee"),
    **_same("gemma", "gemma"),
    **_same("jais2", "jais2"),
    **_same("exaone-moe", "exaone_moe"),
    **_same("cohere2moe", "cohere2_moe"),
    **_same("eurobert", "eurobert"),
    "nemotron-nas": Architecture(name="deci", size_70b=80, lone_norm="ffn_norm"),
    "afmoe": Architecture(name="afmoe", norms=_FOUR, renames=_PROBS),
    "hy_v3": Architecture(name="hy_v3", renames=(("exp_probs_b.bias", "exp_probs_b"),)),
    "laguna": Architecture(name="laguna", renames=_PROBS),
    "nomic_bert": Architecture(name="nomic-bert", norms=_BERT.norms, fused_qkv=True),
    **_same("mellum", "mellum"),
    **_same("nanbeige", "nanbeige"),
    **_same("granite_swa", "granite_swa", "granitemoe_swa"),
    **_same("spark2_5", "spark2_5"),
    "openelm": Architecture(name="openelm", fused_qkv=True),
    **_same("ernie4_5", "ernie4_5"),
    "ernie4_5_moe": Architecture(name="ernie4_5-moe", renames=_PROBS),
    **_same("granite", "granite"),
    **_same("granitemoe", "granitemoe", "granitemoeshared"),
    **_same("smollm3", "smollm3"),
    **_same("stablelm", "stablelm"),
    **_same("nemotron", "nemotron"),
    **_same("apertus", "apertus"),
    **_same("dots1", "dots1"),
    **_same("hunyuan-moe", "hunyuan_v1_moe"),
    **_same("hunyuan-dense", "hunyuan_v1_dense"),
    **_same("qwen3", "qwen3"),
    **_same("qwen3moe", "qwen3_moe"),
    **_same("qwen2moe", "qwen2_moe"),
    **_same("olmoe", "olmoe"),
    **_same("phimoe", "phimoe"),
    **_same("minimax-m2", "minimax_m2"),
    **_same("command-r", "cohere"),
    **_same("cohere2", "cohere2"),
    "olmo": Architecture(name="olmo", size_70b=80),
    **_same("paddleocr", "paddleocr_vl"),
    "bailing_moe": Architecture(
        name="bailingmoe", normed=Architecture(name="bailingmoe2", fused_qkv=True)
    ),
    # The language model inside InternVL: Qwen2.5 or Qwen3.
    "internvl": Architecture(
        name="qwen2", size_70b=80, normed=Architecture(name="qwen3", with_experts="qwen3moe")
    ),
    "muse_glimmer": Architecture(name="muse-glimmer", norms=_FOUR),
    "glm_ocr": Architecture(name="glm4", norms=_FOUR, fused_gate_up=True),
    "hunyuan_vl": Architecture(name="hunyuan_vl"),
    **dict.fromkeys(("qwen2", "dots_ocr"), Architecture(name="qwen2", size_70b=80)),
    "phi": Architecture(name="phi2"),
    "exaone4": Architecture(name="exaone4", norms=_POST),
    **dict.fromkeys(("olmo2", "olmo3"), Architecture(name="olmo2", norms=_POST)),
    "gemma2": Architecture(name="gemma2", norms=_FOUR),
    **dict.fromkeys(("gemma3", "gemma3_text"), Architecture(name="gemma3", norms=_FOUR)),
    "gemma3n_text": Architecture(name="gemma3n", norms=_FOUR, unshared_kv=True),
    "gemma4": Architecture(
        name="gemma4",
        fused_experts=True,
        norms=(*_FOUR, "post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2"),
        renames=tuple((f"ffn_{side}_shexp", f"ffn_{side}") for side in ("gate", "up", "down")),
    ),
    "seed_oss": Architecture(name="seed_oss", norms=_LATE),
    "gpt_oss": Architecture(name="gpt-oss", norms=_LATE),
    "glm4": Architecture(name="glm4", norms=_FOUR, fused_gate_up=True),
    "glm": Architecture(name="chatglm", fused_gate_up=True),
    "glm4_moe": Architecture(name="glm4moe", norms=_LATE, mtp=True),
    **dict.fromkeys(("glm4v_moe", "solar_open"), Architecture(name="glm4moe", norms=_LATE)),
    "glm_moe_dsa": Architecture(name="glm-dsa", mtp=True),
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "kimi_k2", "kimi_k25", "kimi_vl", "glm4_moe_lite", "youtu"),
        _DEEPSEEK2,
    ),
    "deepseek_v32": Architecture(name="deepseek32", mtp=True),
    "deepseek_v4": Architecture(name="deepseek4"),
    "mistral4": Architecture(name="mistral4"),
    "minicpm3": Architecture(name="minicpm3", whole_kv_b=True),
    "bitnet": Architecture(name="bitnet", norms=("attn_norm", "ffn_norm", "attn_sub_norm")),
    "bloom": Architecture(name="bloom", fused_qkv=True),
    "falcon": Architecture(name="falcon", fused_qkv=True, norms=("attn_norm", "attn_norm_2")),
    "gpt2": Architecture(name="gpt2", fused_qkv=True),
    "gpt_bigcode": Architecture(name="starcoder", fused_qkv=True),
    "gpt_neox": Architecture(name="gptneox", fused_qkv=True),
    "mpt": Architecture(name="mpt", fused_qkv=True),
    "phi3": Architecture(name="phi3", fused_qkv=True, fused_gate_up=True),
    "dbrx": Architecture(name="dbrx", fused_qkv=True, norms=("attn_norm", "attn_output_norm")),
    "mimo_v2_flash": Architecture(name="mimo2", mtp=True),
    **dict.fromkeys(("step3p5", "step3p7"), Architecture(name="step35", mtp=True)),
    "minimax_m3_vl": Architecture(
        name="minimax-m3",
        renames=(("indexer.attn_q_b", "indexer.q_proj"), ("indexer.attn_k", "indexer.k_proj")),
    ),
    # Layers with states.
    "mamba": Architecture(name="mamba"),
    "falcon_mamba": Architecture(name="mamba"),
    "mamba2": Architecture(name="mamba2"),
    "jamba": Architecture(name="jamba"),
    "bamba": Architecture(name="granitehybrid"),
    "granitemoehybrid": Architecture(name="granitehybrid"),
    "falcon_h1": Architecture(name="falcon-h1", renames=(("ffn_norm.weight", "ffn_norm"),)),
    "nemotron_h": Architecture(
        name="nemotron_h",
        with_experts="nemotron_h_moe",
        mtp=True,
        norms=("attn_norm", "post_attention_norm"),
    ),
    "lfm2": Architecture(name="lfm2", final_norm="token_embd_norm"),
    "lfm2_moe": Architecture(name="lfm2moe", final_norm="token_embd_norm"),
    "qwen3_next": Architecture(name="qwen3next", norms=_LATE, kv_everywhere=True, mtp=True),
    "qwen3_5": Architecture(name="qwen35", norms=_LATE, kv_everywhere=True, mtp=True),
    "qwen3_5_moe": Architecture(name="qwen35moe", norms=_LATE, kv_everywhere=True, mtp=True),
    "kimi_linear": Architecture(name="kimi-linear"),
    "bailing_hybrid": Architecture(name="bailingmoe3", renames=(("ssm_g.", "ssm_g_a."),)),
    "kimi_k3": Architecture(
        name="kimi-k3",
        renames=(("ffn_latent_down", "ffn_routed_down"), ("ffn_latent_up", "ffn_routed_up")),
    ),
    "minimax": Architecture(name="minimax-01", kv_everywhere=True),
    "rwkv6": Architecture(name="rwkv6", norms=("attn_norm", "attn_norm_2")),
    "rwkv7": Architecture(name="rwkv7", norms=("attn_norm", "attn_norm_2")),
    # Encoders, and T5.
    **dict.fromkeys(("bert", "distilbert"), _BERT),
    **dict.fromkeys(("roberta", "xlm-roberta"), _ROBERTA),
    "modernbert": Architecture(
        name="modern-bert", fused_qkv=True, fused_gate_up=True, lone_norm="ffn_norm"
    ),
    **dict.fromkeys(("t5", "mt5"), Architecture(name="t5")),
}
# Models with towers: the class that converts the whole one's language model.
ARCHITECTURES |= {
    whole: ARCHITECTURES[inside]
    for whole, inside in (
        ("gemma4_unified", "gemma4"), ("glm4v", "glm4"), ("lfm2_vl", "lfm2"), ("qwen2_audio", "qwen2"),
        *((whole, "llama") for whole in ("voxtral", "idefics3", "smolvlm")),
    )
}  # fmt: skip
# The language models inside these, where a config names them alone.
ARCHITECTURES |= {
    f"{name}_text": ARCHITECTURES[name]
    for name in ("gemma4", "qwen3_5", "qwen3_5_moe", "minimax_m3_vl")
}
