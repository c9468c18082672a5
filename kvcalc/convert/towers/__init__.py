"""The towers of a multimodal config: model_type -> the function that reads its towers and projectors.

    config.json -> Whole (the nested configs, with their classes' defaults) -> {name: tower}

What a config says that no reader accounts for leaves the tower out by name, with the reason; the
language model is counted all the same. Nothing is guessed.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kvcalc.convert.towers.whole import Whole
from kvcalc.errors import SpecError, UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.towers import Tower

# model_type -> file.function of this package.
READERS: dict[str, str] = {
    # a projector of one or two linear layers
    "llava": "llava.llava",
    "llava_next": "llava.with_newline",
    "llava_next_video": "llava.with_newline",
    "llava_onevision": "llava.with_newline",
    "video_llava": "llava.video_llava",
    "vipllava": "llava.vipllava",
    "paligemma": "llava.paligemma",
    "shieldgemma2": "llava.gemma3",
    "gemma3": "llava.gemma3",
    "deepseek_vl": "llava.deepseek_vl",
    "video_llama_3": "llava.deepseek_vl",
    "fuyu": "llava.fuyu",
    "perception_lm": "timm.perception_lm",
    "fast_vlm": "timm.fast_vlm",
    # patches merged before the projector
    "internvl": "merged.internvl",
    "qianfan_ocr": "merged.internvl",
    "idefics3": "merged.idefics3",
    "smolvlm": "merged.idefics3",
    "mistral3": "merged.mistral3",
    "lighton_ocr": "merged.mistral3",
    "lfm2_vl": "merged.lfm2_vl",
    "kimi_k25": "merged.kimi",
    "paddleocr_vl": "merged.paddleocr",
    "cosmos3_edge": "merged.cosmos3_edge",
    "minimax_m3_vl": "merged.minimax_m3",
    "cohere2_vision": "merged.cohere2_vision",
    "aya_vision": "merged.aya_vision",
    "llama4": "merged.llama4",
    "muse_glimmer": "merged.muse_glimmer",
    "step3p7": "merged.step3",
    # a merger inside the tower
    "qwen2_vl": "qwen.vision",
    "qwen2_5_vl": "qwen.vision",
    "cosmos3_omni": "qwen.vision",
    "qwen3_vl": "qwen.vision",
    "qwen3_vl_moe": "qwen.vision",
    "qwen3_5": "qwen.vision",
    "qwen3_5_moe": "qwen.vision",
    "qwen4_exp": "qwen.vision",
    "cohere_compass": "qwen.vision",
    "exaone4_5": "qwen.vision",
    "hyperclovax_vision_v2": "qwen.hyperclovax",
    "glm4v": "qwen.vision",
    "glm4v_moe": "qwen.vision",
    "glm46v": "qwen.vision",
    "glmga": "qwen.vision",
    "glm_ocr": "qwen.vision",
    "glm5_next": "qwen.vision",
    "hunyuan_vl": "hunyuan.hunyuan_vl",
    # learned queries
    "idefics2": "queries.idefics2",
    "blip-2": "queries.blip_2",
    "instructblip": "queries.instructblip",
    "instructblipvideo": "queries.instructblip",
    "granite_speech": "queries.granite_speech",
    "granite_speech_plus": "queries.granite_speech",
    "aria": "queries.aria",
    "granite4_vision": "queries.granite4_vision",
    # several towers, or parts between them
    "mllama": "parts.mllama",
    "pp_chart2table": "parts.got_ocr2",
    "got_ocr2": "parts.got_ocr2",
    "deepseek_vl_hybrid": "parts.deepseek_vl_hybrid",
    "minicpm_ocr": "parts.minicpmv",
    "minicpmv4_6": "parts.minicpmv",
    "minicpmv4_7": "parts.minicpmv",
    "ovis2": "parts.ovis2",
    "molmo2": "molmo.molmo2",
    "nemotron_h_omni": "parts.nemotron_omni",
    "qwen2_5_omni_thinker": "parts.omni_thinker",
    "qwen3_omni_moe_thinker": "parts.omni_moe_thinker",
    "granite_docling": "parts.granite_docling",
    "lfm3_vl": "parts.lfm3_vl",
    # Gemma's own
    "gemma3n": "gemma.gemma3n",
    "gemma4": "gemma.gemma4",
    "gemma4_unified": "gemma.gemma4_unified",
    # convolutions
    "florence2": "convolved.florence2",
    "janus": "vector_quantised.janus",
    "emu3": "vector_quantised.emu3",
    "vibevoice_asr": "convolved.vibevoice_asr",
    # code outside transformers
    "kimi_vl": "remote.kimi_vl",
    "kimi_k3": "remote.kimi_k3",
    "internvl_chat": "remote.internvl_chat",
    "deepseek_vl_v2": "remote.deepseek_vl_v2",
    "dots_ocr": "remote.dots_ocr",
    "minicpmv": "remote.minicpmv",
    "phi3_v": "remote.phi3_v",
    # sound
    "qwen2_audio": "sound.qwen2_audio",
    "musicflamingo": "sound.audioflamingo3",
    "audioflamingo3": "sound.audioflamingo3",
    "voxtral": "sound.voxtral",
    "glmasr": "sound.glmasr",
    "phi4_multimodal": "phi.phi4_multimodal",
    "qwen3_asr": "sound.qwen3_asr",
    "moss_transcribe_diarize": "sound.moss",
}


@frozen
class Found:
    """What was read of a config's towers.

    keys: the nested configs that were read. reason: why there are none, where there should be.
    """

    towers: "dict[str, Tower]"
    keys: tuple[str, ...] = ()
    reason: str = ""


def towers_of(
    values: Mapping[str, Any], model_type: str, spec: ModelSpec, path: str, assumptions: list[str]
) -> Found:
    """The towers of a multimodal model, or why they cannot be counted.

    spec: the language model, whose widths a projector leads to.
    Raises SpecError for a file that is wrong.
    """
    home = READERS.get(model_type)
    if home is None:
        return Found({})
    module, function = home.split(".")
    read: Callable[[Whole], dict[str, Tower]] = getattr(
        import_module(f"kvcalc.convert.towers.{module}"), function
    )
    noted: list[str] = []
    whole = Whole(values, model_type, spec, path, noted)
    try:
        towers = read(whole)
        whole.finish()
    except UnsupportedError as error:
        reason = str(error).removeprefix(f"{path}: ").partition("; write the spec by hand")[0]
        return Found({}, reason=reason)
    except SpecError as error:
        # A key that is missing leaves the tower unknown; one that is wrong makes the file wrong.
        if any(problem.code != "KV103" for problem in error.problems) or not error.problems:
            raise
        return Found({}, reason=str(error).removeprefix(f"{path}: "))
    assumptions += noted
    for name, tower in towers.items():
        for field, message in tower.check():
            raise SpecError(f"{path}: {whole.where(name)}: {field}: {message}")
    return Found(towers, whole.keys)
