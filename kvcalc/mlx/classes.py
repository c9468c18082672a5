"""mlx-lm's model classes: what their own predicates keep out of quantisation, or keep wider.

Names of tensors are the inventory's, as in ``weight_formats``. Source: mlx-lm 0.32.2,
mlx_lm/models/*.py (``quant_predicate``, ``cast_predicate``, ``sanitize``, and which layers are bare
arrays or modules without ``to_quantized``), mlx_lm/utils.py (MODEL_REMAPPING).
"""

from typing import Literal

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec

RELEASE = "0.32.2"

_BIAS = "ffn.router.e_score_correction_bias"


@frozen(kw_only=True)
class MlxClass:
    """One class of mlx-lm.

    name: its module. types: the model types that it loads.
    eight: what its predicate stores in 8 bits and groups of 64, whatever is asked; spared: what it
        leaves as it is; a mixed recipe takes the predicate's place. plain: matrices that are never
        quantised. wide: what stays float32. also: quantised, though the inventory has it as no linear
        layer's.
    dropped: buffers that the class has no parameter for.
    latent: MLA's kv_b_proj is two matrices by head, embed_q and unembed_out.
    wider: what a mixed recipe's patterns match beside down_proj and v_proj, as it is fused there.
    narrow: what bears another name there, so that the patterns do not match.
    mixed: whether there is a down_proj at all, which a mixed recipe needs.
    head: whether it always has a head of its own, or never; None where the config says.
    apart: a linear attention's queries, keys and values are projections of their own.
    unread: layers that read another's keys and values have projections for their own, as files do.
    """

    name: str
    types: tuple[str, ...]
    eight: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    latent: bool = False
    wider: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    mixed: bool = True
    unread: bool = False
    apart: bool = False
    head: Literal["own", "tied"] | None = None


_ROUTER = ("ffn.router",)
_GATED_ROUTER = ("ffn.router", "ffn.shared_expert_gate")

_CLASSES = (
    MlxClass(name="afmoe", types=("afmoe",), eight=_ROUTER, wide=(_BIAS, "ffn.router.bias")),
    MlxClass(name="apertus", types=("apertus",), wide=("ffn.act_fn.alpha_p", "ffn.act_fn.alpha_n")),
    MlxClass(name="bailing_moe", types=("bailing_moe",), eight=_ROUTER, wide=(_BIAS,),
             narrow=("attention.v_proj",)),
    MlxClass(name="cohere", types=("cohere",), head="tied"),
    MlxClass(name="cohere2", types=("cohere2",), head="tied"),
    MlxClass(name="dbrx", types=("dbrx",), mixed=False),
    MlxClass(name="deepseek", types=("deepseek",), plain=_ROUTER),
    MlxClass(name="deepseek_v2", types=("deepseek_v2",), plain=_ROUTER),
    MlxClass(
        name="deepseek_v3", types=("deepseek_v3", "kimi_k2", "kimi_k25"), head="own",
        plain=_ROUTER, wide=(_BIAS,), latent=True,
    ),
    MlxClass(name="deepseek_v32", types=("deepseek_v32",), head="own", plain=_ROUTER, wide=(_BIAS,),
             latent=True, also=("attention.indexer.weights_proj",)),
    MlxClass(name="dots1", types=("dots1",), plain=_ROUTER),
    MlxClass(name="ernie4_5", types=("ernie4_5",)),
    MlxClass(name="ernie4_5_moe", types=("ernie4_5_moe",), dropped=("ffn.router.bias",)),
    MlxClass(name="exaone", types=("exaone",), mixed=False),
    MlxClass(name="exaone4", types=("exaone4",)),
    MlxClass(name="falcon_h1", types=("falcon_h1",)),
    MlxClass(name="gemma", types=("gemma",), head="tied"),
    MlxClass(name="gemma2", types=("gemma2",), head="tied"),
    MlxClass(name="gemma3", types=("gemma3", "gemma3_text")),
    MlxClass(name="gemma3n", types=("gemma3n", "gemma3n_text"), unread=True),
    MlxClass(name="gemma4", types=("gemma4", "gemma4_text", "gemma4_unified"), eight=_ROUTER),
    MlxClass(name="glm", types=("glm",)),
    MlxClass(name="glm4", types=("glm4",), head="own"),
    MlxClass(name="glm4_moe", types=("glm4_moe",), plain=_ROUTER, wide=(_BIAS,)),
    MlxClass(name="glm4_moe_lite", types=("glm4_moe_lite",), head="own", plain=_ROUTER, wide=(_BIAS,),
             latent=True),
    MlxClass(name="glm_moe_dsa", types=("glm_moe_dsa",), plain=_ROUTER, wide=(_BIAS,), latent=True,
             also=("attention.indexer.weights_proj",)),
    MlxClass(name="gpt2", types=("gpt2",), also=("position_embedding",), mixed=False),
    MlxClass(name="gpt_bigcode", types=("gpt_bigcode",), also=("position_embedding",), mixed=False),
    MlxClass(name="gpt_neox", types=("gpt_neox",), mixed=False),
    MlxClass(name="gpt_oss", types=("gpt_oss",), head="own", eight=_ROUTER),
    MlxClass(name="gptj", types=("gptj",), mixed=False),
    MlxClass(name="granite", types=("granite",),
             eight=("attention.o_proj", "ffn.down_proj", "head")),
    MlxClass(
        name="granitemoe", types=("granitemoe",),
        eight=("ffn.router", "attention.o_proj", "ffn.experts.down_proj", "head"),
    ),
    MlxClass(name="granitemoehybrid", types=("granitemoehybrid",), eight=_ROUTER,
             narrow=("ffn.shared_expert.down_proj",)),
    MlxClass(name="helium", types=("helium",), head="own"),
    MlxClass(name="hunyuan_v1_dense", types=("hunyuan_v1_dense",)),
    MlxClass(name="internlm2", types=("internlm2",), mixed=False),
    MlxClass(name="internlm3", types=("internlm3",)),
    MlxClass(name="jamba", types=("jamba",), eight=_ROUTER),
    MlxClass(
        name="kimi_linear", types=("kimi_linear",), eight=_ROUTER, latent=True,
        wide=(_BIAS, "recurrent.forget_gate.A_log", "recurrent.forget_gate.dt_bias"),
    ),
    MlxClass(name="kimi_vl", types=("kimi_vl",), plain=_ROUTER, wide=(_BIAS,), latent=True,
             head="own"),
    MlxClass(name="laguna", types=("laguna",), eight=_ROUTER, wide=(_BIAS, "ffn.router.bias")),
    MlxClass(name="lfm2", types=("lfm2",), mixed=False),
    MlxClass(name="lfm2_moe", types=("lfm2_moe",), head="tied", eight=_ROUTER, wide=(_BIAS,)),
    MlxClass(name="llama", types=("llama", "mistral", "xverse", "iquestcoder")),
    MlxClass(name="llama4", types=("llama4",), head="own"),
    MlxClass(name="longcat_flash", types=("longcat_flash",), eight=_ROUTER, wide=(_BIAS,),
             latent=True),
    MlxClass(name="mamba", types=("mamba", "falcon_mamba"), mixed=False),
    MlxClass(name="mamba2", types=("mamba2",), mixed=False),
    MlxClass(name="mellum", types=("mellum",), eight=_ROUTER),
    MlxClass(name="mimo", types=("mimo",)),
    MlxClass(name="mimo_v2_flash", types=("mimo_v2_flash",), plain=_ROUTER, wide=(_BIAS,)),
    MlxClass(name="minicpm", types=("minicpm",)),
    MlxClass(name="minicpm3", types=("minicpm3",)),
    MlxClass(name="minimax", types=("minimax_m2",), eight=_ROUTER, wide=(_BIAS,)),
    MlxClass(name="minimax_m3_vl", types=("minimax_m3_vl",), eight=_ROUTER, wide=(_BIAS,)),
    MlxClass(name="ministral3", types=("ministral3",)),
    MlxClass(name="mistral3", types=("mistral3",)),
    MlxClass(name="mistral4", types=("mistral4",), latent=True, dropped=(_BIAS,)),
    MlxClass(name="mixtral", types=("mixtral",)),
    MlxClass(name="muse_glimmer", types=("muse_glimmer", "muse_glimmer_text")),
    MlxClass(name="nanbeige", types=("nanbeige",)),
    MlxClass(name="nanochat", types=("nanochat",), mixed=False),
    MlxClass(name="nemotron", types=("nemotron",)),
    MlxClass(name="nemotron-nas", types=("nemotron-nas",)),
    MlxClass(name="nemotron_h", types=("nemotron_h",), plain=_ROUTER,
             wide=(_BIAS, "recurrent.A_log"), narrow=("ffn.experts.down_proj", "ffn.latent_down_proj")),
    MlxClass(name="olmo2", types=("olmo2",)),
    MlxClass(name="olmo3", types=("olmo3",)),
    MlxClass(name="olmoe", types=("olmoe",)),
    MlxClass(name="olmo_hybrid", types=("olmo_hybrid",), apart=True),
    MlxClass(name="openelm", types=("openelm",), mixed=False),
    MlxClass(name="phi", types=("phi",), head="own", mixed=False),
    MlxClass(name="phi3", types=("phi3",), wider=("attention.q_proj", "attention.k_proj")),
    MlxClass(name="phimoe", types=("phimoe",)),
    MlxClass(name="qwen2", types=("qwen2",)),
    MlxClass(name="qwen2_moe", types=("qwen2_moe",)),
    MlxClass(name="qwen3", types=("qwen3",)),
    MlxClass(name="qwen3_moe", types=("qwen3_moe",), eight=_ROUTER),
    MlxClass(name="qwen3_next", types=("qwen3_next",), eight=_GATED_ROUTER),
    MlxClass(name="qwen3_5", types=("qwen3_5", "qwen3_5_moe"), eight=_GATED_ROUTER,
             wide=("recurrent.A_log",)),
    MlxClass(name="qwen2_vl", types=("qwen2_vl", "qwen2_5_vl")),
    MlxClass(name="qwen3_vl", types=("qwen3_vl",)),
    MlxClass(name="qwen3_vl_moe", types=("qwen3_vl_moe",), eight=_ROUTER),
    MlxClass(name="recurrent_gemma", types=("recurrent_gemma",)),
    MlxClass(name="seed_oss", types=("seed_oss",)),
    MlxClass(name="smollm3", types=("smollm3",)),
    MlxClass(name="solar_open", types=("solar_open",), plain=_ROUTER, wide=(_BIAS,)),
    MlxClass(name="spark2_5", types=("spark2_5",), spared=("attention.g_proj",),
             wider=("attention.q_proj", "attention.k_proj")),
    MlxClass(name="stablelm", types=("stablelm",), head="own"),
    MlxClass(name="starcoder2", types=("starcoder2",), mixed=False),
    MlxClass(name="step3p5", types=("step3p5",), eight=_ROUTER, wide=(_BIAS,)),
)  # fmt: skip
BY_TYPE = {model_type: each for each in _CLASSES for model_type in each.types}


def mlx_class(spec: ModelSpec) -> MlxClass:
    """The class that mlx-lm loads a model with. Raises UnsupportedError where there is none."""
    found = BY_TYPE.get(spec.model_type or "")
    if found is None:
        what = f"model_type '{spec.model_type}'" if spec.model_type else "a spec without model_type"
        raise UnsupportedError(
            f"{spec.name}: {what} has no class of mlx-lm {RELEASE} that is accounted for here"
        )
    if found.name in ("deepseek_v32", "glm_moe_dsa") and any(
        block.attention is not None and getattr(block.attention, "indexer", None) is None
        for block in spec.blocks.values()
    ):
        raise UnsupportedError(
            f"{spec.name}: mlx-lm's class {found.name} has an indexer in every layer, and this model's "
            "files have none for those that reuse another's: it does not load them"
        )
    other = {"own": True, "tied": False, None: None}[found.head]
    if other is not None and spec.tie_word_embeddings is other:
        has = "always has a head of its own" if other else "always ties the head to the token table"
        raise UnsupportedError(
            f"{spec.name}: mlx-lm's class {found.name} {has}, and this model's is not so"
        )
    return found
