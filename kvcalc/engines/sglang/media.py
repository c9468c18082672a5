"""What SGLang sets aside for images and sound: a smaller share of the GPU, and room for embeddings.

As SGLang 0.5.23 works it out, run on its own classes' configs (arg_groups/memory_hook.py,
adjust_mem_fraction_for_vlm; mem_cache/kv_cache_configurator.py, mm_runtime_reservation_gb):

    share    = the model's share x 0.95 x clamp(1 - 0.1 (L d^2 / (24 x 1024^2) - 1), 0.8, 1.05)
    reserved = SGLANG_VLM_CACHE_SIZE_MB (100) and, where features travel between processes on the GPU,
               SGLANG_MM_FEATURE_CACHE_MB (1,024)

L and d are ``num_hidden_layers`` (24 where a config calls it otherwise) and ``hidden_size`` of
``vision_config``. A model that takes media has no graphs of its prefill, but for the families of
``_GRAPHS``. Gemma 3 and Llama 4 take none unless --enable-multimodal (configs/model_config.py). On GPUs of
compute capability 9.x with 60 GiB or more Qwen3-VL keeps no embeddings and has the pool of features, which
is 3,072 MiB from 400 running requests on (model_overrides/qwen3_vl.py). Embeddings were not set aside
before 0.5.18.
"""

from fractions import Fraction

from kvcalc.engines.engine import Device, Reserved
from kvcalc.engines.sglang.versions import rules_for
from kvcalc.spec.model import ModelSpec
from kvcalc.units import GIB, MIB

_TEXT = ("gemma3", "gemma3_text", "llama4")
_GRAPHS = ("qwen3_5", "qwen3_5_moe")
# Whose configs have no num_hidden_layers of the tower, and those that have.
_DEPTH = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "glm4v",
          "glm_ocr")  # fmt: skip
_LAYERS = ("internvl", "llava", "llava_next", "llava_onevision", "idefics3", "lfm2_vl", "paligemma",
           "ministral3", "kimi_k25", "mllama")  # fmt: skip
_AUDIO = ("qwen2_audio", "voxtral")
_FEATURES = ("qwen3_vl", "qwen3_vl_moe")
_BASE = 24 * 1024**2


def takes_media(spec: ModelSpec) -> bool:
    """Whether a server takes images or sound by itself."""
    return bool(spec.towers) and spec.model_type not in _TEXT


def prefill_graphs(spec: ModelSpec) -> bool:
    """Whether lengths of a prefill have graphs."""
    return spec.model_type != "kimi_linear" and (
        not takes_media(spec) or spec.model_type in _GRAPHS
    )


def share_factor(spec: ModelSpec) -> Fraction | None:
    """What a vision tower leaves of the share; None where its config was not read."""
    kind = spec.model_type
    if not takes_media(spec) or kind in _AUDIO:
        return Fraction(1)
    if kind not in (*_DEPTH, *_LAYERS):
        return None
    tower = spec.towers["vision"]
    # Qwen2-VL's config calls what its tower hands on hidden_size.
    width = spec.hidden_size if kind == "qwen2_vl" else int(getattr(tower, "hidden_size"))  # noqa: B009
    layers = 24 if kind in _DEPTH else int(getattr(tower, "num_hidden_layers"))  # noqa: B009
    dynamic = 1 - Fraction(1, 10) * (Fraction(layers * width**2, _BASE) - 1)
    return Fraction(95, 100) * max(Fraction(8, 10), min(Fraction(105, 100), dynamic))


def reserved(
    spec: ModelSpec, device: Device, version: str | None, requests: int | None
) -> Reserved | None:
    """What is set aside of the memory for the cache. requests: --max-num-seqs, where said."""
    if not takes_media(spec) or not rules_for(version).embeddings_set_aside:
        return None
    if spec.model_type in _FEATURES and (device.sm or 0) // 10 == 9 and device.bytes >= 60 * GIB:
        size = 3072 if requests is not None and requests >= 400 else 1024
        return Reserved("SGLANG_MM_FEATURE_CACHE_MB", size * MIB)
    return Reserved("SGLANG_VLM_CACHE_SIZE_MB", 100 * MIB)
