"""Processors' settings as they are published beside weights.

A shipped spec has no ``preprocessor_config.json`` beside it. What is known of the file on the Hub stands
here, each with where it was read; of the rest the values of the processor's class hold, and the answer
says so. The two may differ thirtyfold.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kvcalc.frozen import frozen

Kind = Literal["image", "audio", "video"]


@frozen
class Published:
    """The settings of one processor. file: which file of the model's has them."""

    file: str
    settings: Mapping[str, Any]


def _edges(least: int, most: int) -> Mapping[str, Any]:
    return {"size": {"shortest_edge": least, "longest_edge": most}}


# mlx-vlm's issue 1175 quotes Qwen2.5-VL-7B-Instruct's. There is no file for video beside it, so that
# transformers 5.23.0 takes the images' for it (video_processing_utils.py, get_video_processor_dict).
_QWEN2 = Published("preprocessor_config.json", {"min_pixels": 3136, "max_pixels": 12845056})
# Qwen2.5-Omni-7B's file, as four programs that read it quote it, and a fine-tuned model's: sound of 300 s,
# where the extractor's class has 30. Videos have the processor's own bounds, whatever the file says.
_QWEN2_OMNI: Mapping[Kind, Published] = {
    "image": _QWEN2, "audio": Published("preprocessor_config.json", {"chunk_length": 300})
}  # fmt: skip
# Qwen3-VL-2B-Instruct's as transformers prints it, and the files of Qwen3.5-2B-Base, Qwen3.6-35B-A3B-FP8
# and Qwen3.8-27B, as programs that read them quote them: the same in all four.
_QWEN3 = Published("preprocessor_config.json", _edges(65536, 16777216))
_QWEN3_VIDEO = Published("video_preprocessor_config.json", _edges(4096, 25165824))
# GLM-OCR's file at revision 2e85a628; zai-org/GLM-V's issue 151: 2184 x 2184 pixels at most, which of
# two frames are these.
_GLM = Published("preprocessor_config.json", _edges(12544, 9633792))
# https://huggingface.co/HuggingFaceTB/SmolVLM-Instruct (README): 81 tokens of 384 x 384 pixels, the
# longest edge 4 * 384 unless it is set.
_SMOLVLM = Published(
    "preprocessor_config.json",
    {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}, "image_seq_len": 81},
)
# The files of SmolVLM-256M-Base and SmolVLM2-256M-Video-Instruct as copies on the Hub have them;
# SmolVLM-256M-Instruct's README: 64 tokens of 512 x 512 pixels.
_SMOLVLM_SMALL = Published(
    "preprocessor_config.json",
    {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}, "image_seq_len": 64},
)
# https://huggingface.co/EasyDeL/Kimi-VL-A3B-Instruct/blob/main/preprocessor_config.json, a copy. The
# shape's other ids have files of their own (Thinking-2506 sees larger images): whose this is, is said.
_KIMI_VL = Published(
    "preprocessor_config.json of Kimi-VL-A3B-Instruct",
    {"in_token_limit": 4096, "patch_size": 14, "pad_input": True},
)
# The file that LTX-2's text encoder, a Gemma 3, has beside it; the class has 224 x 224.
_GEMMA3 = Published(
    "preprocessor_config.json", {"image_seq_length": 256, "size": {"height": 896, "width": 896}}
)
# rednote-hilab/dots.ocr's repository (dots_ocr/utils/consts.py): at most 14,400 places.
_DOTS_OCR = Published("preprocessor_config.json", {"min_pixels": 3136, "max_pixels": 11289600})
# vLLM's test of Phi-3-vision's processor: "the default num_crops of phi-3.5-vision is 4", 757 places.
_PHI3_5 = Published("preprocessor_config.json", {"num_crops": 4})
# The beginning of a hub id -> what each processor is set to.
_MODELS: Mapping[str, Mapping[Kind, Published]] = {
    "Qwen/Qwen2-VL-": {"image": _QWEN2, "video": _QWEN2},
    "Qwen/Qwen2.5-VL-": {"image": _QWEN2, "video": _QWEN2},
    "Qwen/Qwen2.5-Omni-": _QWEN2_OMNI,
    "Qwen/Qwen3-VL-": {"image": _QWEN3, "video": _QWEN3_VIDEO},
    "Qwen/Qwen3.5-": {"image": _QWEN3, "video": _QWEN3_VIDEO},
    "Qwen/Qwen3.6-": {"image": _QWEN3, "video": _QWEN3_VIDEO},
    "Qwen/Qwen3.8-": {"image": _QWEN3, "video": _QWEN3_VIDEO},
    "zai-org/GLM-4.1V-": {"image": _GLM},
    "zai-org/GLM-OCR": {"image": _GLM},
    "HuggingFaceTB/SmolVLM-Instruct": {"image": _SMOLVLM},
    "HuggingFaceTB/SmolVLM-256M-": {"image": _SMOLVLM_SMALL},
    "HuggingFaceTB/SmolVLM-500M-": {"image": _SMOLVLM_SMALL},
    "moonshotai/Kimi-VL-A3B-Instruct": {"image": _KIMI_VL},
    "google/gemma-3-": {"image": _GEMMA3},
    "rednote-hilab/dots.ocr": {"image": _DOTS_OCR},
    "microsoft/Phi-3.5-vision-": {"image": _PHI3_5},
}
# The beginning of a hub id -> how config.json says that images are cut: the defaults of LlavaNextConfig
# and LlavaOnevisionConfig (transformers 5.23.0), which were written for these models. Which tower sees
# them: Pixtral is LLaVA's class with a tower of its own (transformers' pull request 33449), SmolVLM2's
# 2.2B has the tower and the 81 places of SmolVLM's (processor_config.json of SmolVLM2-2.2B-Base).
# DeepSeek-VL2's canvases are all of at most nine tiles of 384 pixels (arXiv 2412.10302, section 2).
_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "mistral-community/pixtral-": {"vision_config": {"model_type": "pixtral"}},
    "HuggingFaceTB/SmolVLM2-2.2B-": {"vision_config": {"image_size": 384}, "scale_factor": 3},
    "deepseek-ai/DeepSeek-OCR": {"architectures": ["DeepseekOCRForCausalLM"]},
    "deepseek-ai/deepseek-vl2": {
        "candidate_resolutions": [
            [384 * wide, 384 * high]
            for wide in range(1, 10)
            for high in range(1, 10)
            if wide * high <= 9
        ]
    },
    "llava-hf/llava-v1.6-": {
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    },
    "llava-hf/llava-onevision-": {
        "image_grid_pinpoints": [
            [384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)
        ]
    },
}


# A model_type -> how the models published under it are set, all that were read alike; what stands in for
# a config.json without a processor's file beside it. whose: by their names.
_TYPES: Mapping[str, tuple[str, Mapping[Kind, Published]]] = {
    "qwen2_vl": ("Qwen2-VL", {"image": _QWEN2, "video": _QWEN2}),
    "qwen2_5_vl": ("Qwen2.5-VL", {"image": _QWEN2, "video": _QWEN2}),
    "qwen2_5_omni": ("Qwen2.5-Omni", _QWEN2_OMNI),
    **dict.fromkeys(
        ("qwen3_vl", "qwen3_vl_moe"), ("Qwen3-VL", {"image": _QWEN3, "video": _QWEN3_VIDEO})
    ),
    **dict.fromkeys(
        ("qwen3_5", "qwen3_5_moe"), ("Qwen3.5", {"image": _QWEN3, "video": _QWEN3_VIDEO})
    ),
    "glm_ocr": ("GLM-OCR", {"image": _GLM}),
    "gemma3": ("Gemma 3", {"image": _GEMMA3}),
    "dots_ocr": ("dots.ocr", {"image": _DOTS_OCR}),
}


def of_type(model_type: str, kind: Kind) -> tuple[str, Published] | None:
    """Whose processors are published for a type, and how they are set; None where they were not read."""
    name, found = _TYPES.get(model_type, ("", {}))
    return (name, found[kind]) if kind in found else None


def published(hub_ids: Sequence[str], kind: Kind) -> Published | None:
    """How a published model's processor of this kind is set; None where it was not read."""
    return next((found[kind] for found in _of(_MODELS, hub_ids) if kind in found), None)


def published_config(hub_ids: Sequence[str]) -> Mapping[str, Any]:
    """What config.json says of images, beside the tower's own dimensions."""
    return next(iter(_of(_CONFIGS, hub_ids)), {})


def _of(table: Mapping[str, Mapping[Any, Any]], hub_ids: Sequence[str]) -> list[Mapping[Any, Any]]:
    return [one for hub_id in hub_ids for start, one in table.items() if hub_id.startswith(start)]
