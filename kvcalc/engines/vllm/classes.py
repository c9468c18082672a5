"""vLLM 0.33.0's class for each model_type, and what it does that the mechanisms do not say.

Read in vllm/model_executor/models/ (the file stands beside each); what was built is in LOADED.md.
"""

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec

_ROUTER, _CORRECTION, _OTHER = "routers in float32", "router corrections in float32", "float32"
# Whatever the class: the layers that several of them share keep these so.
_ALWAYS = {
    "attention.indexer.k_norm.weight": _OTHER, "attention.indexer.k_norm.bias": _OTHER,
    "recurrent.A_log": _OTHER, "recurrent.forget_gate.A_log": _OTHER,
    "recurrent.forget_gate.dt_bias": _OTHER, "ffn.router.e_score_correction_bias": _CORRECTION,
}  # fmt: skip


@frozen
class ModelClass:
    """name: of the class. router: its gate is float32. kept: tensors in float32, by their name in a
    layer. whole: tensors that are not divided, by their full name. divided: False where vLLM's
    Transformers backend has no plan for the layers, so that every rank holds them whole.

    own_head: it has a head although the table is tied; no_head: it has none although it is not.
    least_inner: what a rank's share of an expert's inner width is padded to. key_biases: q, k and v
    share a bias, so that k, which has none, gets zeros. towers: the ends of the names of its towers'
    tensors that ranks divide, each with the axis; the others stand whole. tower_inner: what the width
    within a tower's layer is padded to. plain_corrections: the router's correction is in the model's
    format. no_towers: they are not loaded unless asked for.
    """

    name: str
    router: bool = False
    kept: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    divided: bool = True
    own_head: bool = False
    no_head: bool = False
    least_inner: int = 0
    key_biases: bool = False
    towers: tuple[tuple[str, int], ...] = ()
    tower_inner: int = 1
    plain_corrections: bool = False
    no_towers: bool = False

    @property
    def own(self) -> bool:
        """Whether it is vLLM's own, not its Transformers backend around transformers' class."""
        return not self.name.startswith("Transformers")

    def float32(self, name: str) -> str:
        """The reason for which a tensor is float32, "" where it is not. name: with its prefix."""
        own = name.split("{}.", 1)[-1]
        if not self.own:
            return ""
        if own == "ffn.router.weight" and self.router:
            return _ROUTER
        if own in self.kept:
            return _CORRECTION if own.startswith("ffn.router") else _OTHER
        return _ALWAYS.get(own, "")


# What the class is, where nothing else is to say of it.
_PLAIN = {
    "cohere": "CohereForCausalLM", "cohere2": "CohereForCausalLM", "dbrx": "DbrxForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM", "deepseek_v32": "DeepseekV32ForCausalLM", "ernie4_5":
    "Ernie4_5ForCausalLM", "exaone4": "Exaone4ForCausalLM", "exaone_moe": "ExaoneMoeForCausalLM",
    "falcon": "FalconForCausalLM", "falcon_h1": "FalconH1ForCausalLM", "falcon_mamba":
    "MambaForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text":
    "Gemma3ForCausalLM", "glm4": "Glm4ForCausalLM", "glm_moe_dsa": "DeepseekV32ForCausalLM", "gpt2":
    "GPT2LMHeadModel", "gpt_oss": "GptOssForCausalLM", "gptj": "GPTJForCausalLM", "granite":
    "GraniteForCausalLM", "granite_swa": "GraniteForCausalLM", "granitemoe": "GraniteMoeForCausalLM",
    "granitemoe_swa": "GraniteMoeSharedForCausalLM", "granitemoehybrid": "GraniteMoeHybridForCausalLM",
    "granitemoeshared": "GraniteMoeSharedForCausalLM", "hyperclovax": "HyperCLOVAXForCausalLM", "jamba":
    "JambaForCausalLM", "kimi_k2": "DeepseekV3ForCausalLM", "lfm2_moe": "Lfm2MoeForCausalLM", "llama":
    "LlamaForCausalLM", "llama4_text": "Llama4ForCausalLM", "mamba": "MambaForCausalLM", "mamba2":
    "Mamba2ForCausalLM", "minicpm3": "MiniCPM3ForCausalLM", "ministral3": "MistralForCausalLM",
    "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM", "nemotron": "NemotronForCausalLM",
    "nemotron_h": "NemotronHForCausalLM", "opt": "OPTForCausalLM", "phi3": "Phi3ForCausalLM", "qwen2":
    "Qwen2ForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_5":
    "Qwen3_5ForCausalLM", "qwen3_5_moe": "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text":
    "Qwen3_5MoeForCausalLM", "qwen3_5_text": "Qwen3_5ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM",
    "qwen3_next": "Qwen3NextForCausalLM", "stablelm": "StablelmForCausalLM", "zamba2":
    "Zamba2ForCausalLM",
}  # fmt: skip
_TRANSFORMERS, _TRANSFORMERS_MOE = "TransformersForCausalLM", "TransformersMoEForCausalLM"
# vLLM's Transformers backend: transformers' own modules, divided by its plan.
_DENSE = """
arcee cwm glm gpt_neox helium hunyuan_v1_dense jais2 ministral nanochat olmo phi seed_oss
smollm3 starcoder2 vaultgemma cohere_compass_text
"""
_EXPERTS = "aria_text hunyuan_v1_moe mellum phimoe dots1 solar_open kolibri1"
# Towers of the families below (unless --mm-encoder-tp-mode data).
TOWERS = (
    *((f"attention.{name}_proj.{what}", 0) for name in "qkv" for what in ("weight", "bias")),
    ("attention.o_proj.weight", 1), ("ffn.gate_proj.weight", 0), ("ffn.gate_proj.bias", 0),
    ("ffn.up_proj.weight", 0), ("ffn.up_proj.bias", 0), ("ffn.down_proj.weight", 1),
    ("linear_1.weight", 0), ("linear_1.bias", 0), ("linear_2.weight", 1),
)  # fmt: skip
_GEMMA3 = "Gemma3ForConditionalGeneration"
_NORMS = ("layers.{}.attention.q_norm.weight", "layers.{}.attention.k_norm.weight")

CLASSES: dict[str, ModelClass] = {
    **{kind: ModelClass(name) for kind, name in _PLAIN.items()},
    **{kind: ModelClass(_TRANSFORMERS) for kind in _DENSE.split()},
    **{kind: ModelClass(_TRANSFORMERS_MOE) for kind in _EXPERTS.split()},
    "persimmon": ModelClass(_TRANSFORMERS, divided=False),
    "jetmoe": ModelClass(_TRANSFORMERS_MOE, divided=False),
    "olmo2": ModelClass(_TRANSFORMERS, whole=_NORMS),
    "olmo3": ModelClass(_TRANSFORMERS, whole=_NORMS),
    "flex_olmo": ModelClass(_TRANSFORMERS_MOE, whole=_NORMS),
    "afmoe": ModelClass("AfmoeForCausalLM", router=True, own_head=True, kept=("ffn.router.bias",)),
    "cohere2_moe": ModelClass("Cohere2MoeForCausalLM", no_head=True),
    "deepseek_v2": ModelClass("DeepseekV2ForCausalLM", own_head=True),
    "ernie4_5_moe": ModelClass("Ernie4_5_MoeForCausalLM", router=True, kept=("ffn.router.bias",)),
    "glm4_moe": ModelClass("Glm4MoeForCausalLM", router=True),
    "glm4_moe_lite": ModelClass("Glm4MoeLiteForCausalLM", router=True),
    "kimi_linear": ModelClass(
        "KimiLinearForCausalLM", kept=("recurrent.conv1d.weight",), least_inner=256
    ),
    "laguna": ModelClass("LagunaForCausalLM", kept=("ffn.router.bias",)),
    "lfm2": ModelClass("Lfm2ForCausalLM", no_head=True),
    "mimo_v2_flash": ModelClass("MiMoV2FlashForCausalLM", router=True),
    "minimax_m2": ModelClass("MiniMaxM2ForCausalLM", router=True),
    "olmoe": ModelClass("OlmoeForCausalLM", own_head=True, whole=_NORMS),
    "whisper": ModelClass(
        "WhisperForConditionalGeneration", whole=("embedding.weight",), key_biases=True
    ),
}

# The same for models with their towers.
TOWERED: dict[str, ModelClass] = {
    "llama4": ModelClass(
        "Llama4ForConditionalGeneration", towers=(("patch_embedding.weight", 0), *TOWERS)
    ),
    "gemma3": ModelClass(_GEMMA3, towers=TOWERS),
    "gemma3_text": ModelClass(_GEMMA3, towers=TOWERS),
    "qwen2_5_vl": ModelClass("Qwen2_5_VLForConditionalGeneration", towers=TOWERS),
    "qwen3_vl": ModelClass("Qwen3VLForConditionalGeneration", towers=TOWERS),
}

# What classes divide of their towers with --mm-encoder-tp-mode data, where they support it
# (supports_encoder_tp_data); the others divide them all the same.
WHOLE_TOWERS: dict[str, tuple[tuple[str, int], ...]] = {
    "llama4": (("towers.projector.linear_1.weight", 0),), "qwen2_5_vl": (), "qwen3_vl": (),
}  # fmt: skip

_TEXT = "its encoder-decoders of text left with its V0 engine"
# Why a model has no class there (models/registry.py).
ABSENT: dict[str, str] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "pegasus", "m2m_100", "marian", "blenderbot", "led",
                     "switch_transformers", "t5gemma"), _TEXT),
    **dict.fromkeys(("bart", "mbart"), "the package bart-plugin adds it"),
    **dict.fromkeys(("gpt_neo", "codegen", "xglm", "openai-gpt", "rwkv", "rwkv6", "rwkv7", "xlstm",
                     "recurrent_gemma", "zamba", "mvp", "rembert"), "it never had one"),
    **dict.fromkeys(("bamba", "minimax"), "its last release with one is 0.23.0"),
    "mpt": "its last release with one is 0.28.0",
    "ouro": "its last release with one is 0.26.0",
    **dict.fromkeys(("openelm", "spark2_5"), "it never had one"),
    "nanbeige": "its Transformers backend takes it, whose caches of loops were not read",
    "mllama_text_model": "its last release with one is 0.10.2",
}  # fmt: skip
# Of these, what another server has a class for.
_SERVED = dict.fromkeys(("nanbeige", "spark2_5"), "sglang")


def check_class(spec: ModelSpec, version: str | None) -> None:
    """Raises UnsupportedError for a model that the newest release has no class for.

    version: as asked; what an earlier release has is not listed.
    """
    kind = spec.model_type
    if kind in ABSENT and version is None:
        raise UnsupportedError(
            f"{spec.name}: vLLM 0.33.0 has no class for model_type {kind} ({ABSENT[kind]}); "
            f"--engine {_SERVED.get(kind, 'transformers')} runs it"
        )
