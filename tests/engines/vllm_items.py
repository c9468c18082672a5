"""The largest items that vLLM's own MultiModalBudget plans for: vllm_items.json.

    PYTHONPATH=<repository>:<folder of the unpacked wheel> python -m tests.engines.vllm_items

in an environment as tests/engines/vllm_stand_in.py describes, with torchvision and pillow besides; a
minute. ``test_vllm_items.py`` replays the table without vLLM. MultiModalBudget runs with the
processing info of the model's own class, transformers' processors set as a row says, and a scheduler of
``step`` tokens; tokenizers stand in, for none of these classes counts with them. InternVL and
LLaVA-OneVision make items up, which needs a tokenizer: their own numbers of frames stand for them.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FILE = Path(__file__).with_name("vllm_items.json")
RELEASE = "0.33.0"
LENGTHS = (4096, 16384, 32768, 131072)
# Tokens of a step, fewer than most items have: what an item needs shows.
STEP = 512
EDGES = ("shortest_edge", "longest_edge")
QWEN2 = dict(zip(EDGES, (3136, 12845056), strict=True))
QWEN3 = dict(zip(EDGES, (65536, 16777216), strict=True))
QWEN3_VIDEO = dict(zip(EDGES, (4096, 25165824), strict=True))
CLASS: dict[str, int] = {}
# No rectangle of whole merged patches has so many: 1,283 and 1,021 are prime.
ODD = dict(zip(EDGES, (3136, 784 * 1283), strict=True))
ODD_3 = dict(zip(EDGES, (4096, 2 * 1024 * 1021), strict=True))
# model_type, the module and the class that know its items, sizes of images and videos (published ones, and
# the class's own where they are empty), limits of the server.
ROWS: list[tuple[str, str, str, dict[str, int], dict[str, int], dict[str, int]]] = [
    ("qwen2_vl", "qwen2_vl", "Qwen2VLProcessingInfo", QWEN2, QWEN2, {}),
    ("qwen2_vl", "qwen2_vl", "Qwen2VLProcessingInfo", CLASS, CLASS, {}),
    ("qwen2_vl", "qwen2_vl", "Qwen2VLProcessingInfo", ODD, ODD, {}),
    ("qwen2_5_vl", "qwen2_5_vl", "Qwen2_5_VLProcessingInfo", QWEN2, QWEN2, {}),
    ("qwen2_5_vl", "qwen2_5_vl", "Qwen2_5_VLProcessingInfo", QWEN2, QWEN2, {"video": 0}),
    ("qwen3_vl", "qwen3_vl", "Qwen3VLProcessingInfo", QWEN3, QWEN3_VIDEO, {}),
    ("qwen3_vl", "qwen3_vl", "Qwen3VLProcessingInfo", QWEN3, QWEN3_VIDEO, {"image": 0}),
    ("qwen3_vl", "qwen3_vl", "Qwen3VLProcessingInfo", QWEN3, CLASS, {"image": 0}),
    ("qwen3_vl", "qwen3_vl", "Qwen3VLProcessingInfo", QWEN3, ODD_3, {"image": 0}),
    ("qwen3_vl_moe", "qwen3_vl_moe", "Qwen3VLMoeProcessingInfo", QWEN3, QWEN3_VIDEO, {}),
    ("qwen3_5", "qwen3_5", "Qwen3_5ProcessingInfo", QWEN3, QWEN3_VIDEO, {}),
    ("qwen3_5_moe", "qwen3_5", "Qwen3_5MoeProcessingInfo", QWEN3, QWEN3_VIDEO, {"image": 0}),
    ("qwen2_5_omni_thinker", "qwen2_5_omni_thinker", "Qwen2_5OmniThinkerProcessingInfo", QWEN2, QWEN2,
     {}),
    ("qwen2_5_omni_thinker", "qwen2_5_omni_thinker", "Qwen2_5OmniThinkerProcessingInfo", CLASS, CLASS,
     {"image": 0, "video": 0}),
    ("qwen3_omni_moe_thinker", "qwen3_omni_moe_thinker", "Qwen3OmniMoeThinkerProcessingInfo", QWEN2,
     QWEN2, {}),
    ("qwen2_audio", "qwen2_audio", "Qwen2AudioProcessingInfo", CLASS, CLASS, {}),
    ("voxtral", "voxtral", "VoxtralProcessingInfo", CLASS, CLASS, {}),
    ("internvl_chat", "internvl", "InternVLProcessingInfo", CLASS, CLASS, {}),
    ("internvl_chat", "internvl", "InternVLProcessingInfo", CLASS, CLASS, {"image": 0}),
    ("internvl", "interns1", "InternS1ProcessingInfo", CLASS, CLASS, {}),
    ("llava_onevision", "llava_onevision", "LlavaOnevisionProcessingInfo", CLASS, CLASS, {}),
    ("gemma4", "gemma4_mm", "Gemma4ProcessingInfo", CLASS, CLASS, {}),
    ("gemma4", "gemma4_mm", "Gemma4ProcessingInfo", CLASS, CLASS, {"video": 0}),
]  # fmt: skip


def _processor(model_type: str, images: dict[str, int], videos: dict[str, int]) -> Any:
    """transformers' processors, so set."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLVideoProcessor,
        WhisperFeatureExtractor,
    )

    three = model_type.startswith(("qwen3_vl", "qwen3_5"))
    patch = {"patch_size": 16} if model_type.startswith("qwen3") else {}
    size = {"size": images} if images else {}
    video = Qwen3VLVideoProcessor if three else Qwen2VLVideoProcessor
    return SimpleNamespace(
        image_processor=Qwen2VLImageProcessor(**patch, **size),
        video_processor=video(**({"size": videos} if videos else {})),
        feature_extractor=WhisperFeatureExtractor(), audio_seq_length=750, image_seq_length=256,
    )  # fmt: skip


def measure(row: tuple[Any, ...], length: int) -> dict[str, int]:
    """Tokens of the largest item of each modality, and of the encoder cache, as MultiModalBudget plans."""
    from importlib import import_module

    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from vllm.multimodal import encoder_budget

    model_type, module, name, images, videos, limits = row
    config = CONFIG_MAPPING[model_type]() if model_type in CONFIG_MAPPING else SimpleNamespace()
    if model_type == "gemma4":
        from transformers.models.gemma4 import Gemma4AudioConfig, Gemma4VisionConfig

        config = CONFIG_MAPPING[model_type](
            vision_config=Gemma4VisionConfig(), audio_config=Gemma4AudioConfig()
        )
        # A key of the published files, which this release's class has not.
        config.vision_config.default_output_length = 280
    if model_type.endswith("_thinker"):
        config = CONFIG_MAPPING[model_type.removesuffix("_thinker")]()
    processor = _processor(model_type, images, videos)
    counts = SimpleNamespace(
        limit_per_prompt={}, enable_mm_embeds=False,
        get_limit_per_prompt=lambda modality: limits.get(modality, 999),
    )  # fmt: skip
    model = SimpleNamespace(
        max_model_len=length, multimodal_config=counts, get_multimodal_config=lambda: counts,
        model="", revision=None,
    )  # fmt: skip
    context = SimpleNamespace(
        model_config=model, get_hf_config=lambda *_: config,
        get_hf_processor=lambda *_, **__: processor, get_merged_mm_kwargs=lambda *_, **__: {},
        get_mm_config=lambda: counts,
    )  # fmt: skip
    info = getattr(import_module(f"vllm.model_executor.models.{module}"), name)(context)
    info.__dict__["supported_mm_processor_kwargs"] = {}
    if model_type.startswith("internvl"):
        # 13 tiles, as vLLM's calculate_internvl_targets has them (tests/media/processors.py).
        info.__dict__ |= {
            "ctx_video_token": "<video>", "get_max_image_tokens": lambda: 13 * 256,
            "get_hf_processor": lambda: processor,
        }  # fmt: skip
    encoder_budget.get_mm_max_toks_per_item = lambda made, mm_counts, cache: (
        made.info.get_mm_max_tokens_per_item(length, mm_counts) or _made_up(info, length, mm_counts)
    )
    scheduler = SimpleNamespace(
        max_num_seqs=256, max_num_batched_tokens=STEP, max_num_encoder_input_tokens=STEP,
        encoder_cache_size=STEP, enable_chunked_prefill=True, disable_chunked_mm_input=False,
    )  # fmt: skip
    registry = SimpleNamespace(create_processor=lambda _: SimpleNamespace(info=info))
    server = SimpleNamespace(model_config=model, scheduler_config=scheduler)
    budget = encoder_budget.MultiModalBudget(server, registry, enable_cache=False)
    return {**dict(sorted(budget.mm_max_toks_per_item.items())), "cache": budget.encoder_cache_size}


def _made_up(info: Any, length: int, counts: dict[str, int]) -> dict[str, int]:
    """Of classes that make items up: their own frames, each of so many tokens."""
    frames = info.get_num_frames_with_most_features(length, counts)
    found = {"image": info.get_max_image_tokens()}
    if hasattr(info, "get_max_video_tokens"):
        found["video"] = info.get_max_video_tokens(length, counts)
    else:
        found["video"] = frames * info.get_hf_processor().image_seq_length
    return {name: tokens for name, tokens in found.items() if counts.get(name)}


def main() -> None:
    from tests.engines import vllm_stand_in

    vllm_stand_in._MISSING.discard("torchvision")
    vllm_stand_in.prepare((9, 0))
    rows = []
    for row in ROWS:
        model_type, _, _, images, videos, limits = row
        for length in LENGTHS:
            found = {"model_type": model_type, "length": length, "image": images, "video": videos,
                     "limits": limits}  # fmt: skip
            try:
                rows.append(found | {"items": measure(row, length)})
            except Exception as error:
                print(model_type, type(error).__name__, str(error)[:200], file=sys.stderr)
                break
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = {"vllm": RELEASE, "step": STEP, "date": datetime.now(UTC).date().isoformat()}
    FILE.write_text(f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
