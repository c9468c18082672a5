"""llama.cpp's converter on small models of every form of towers: what its mmproj files hold.

    python -m tests.gguf.projectors_measured LLAMA_CPP      (the folder with convert_hf_to_gguf.py)

Needs torch, transformers and what the converter imports. Writes tests/gguf/projectors.json, which
tests/gguf/test_projector_file.py compares kvcalc's files with.
"""

import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("projectors.json")

_TEXT = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 80, "vocab_size": 100,
}  # fmt: skip
_VISION = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96,
    "patch_size": 14, "image_size": 56,
}  # fmt: skip
_SOUND = {"num_mel_bins": 16, "max_source_positions": 1500}
_QWEN = {
    "depth": 4, "num_heads": 4, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2
}  # fmt: skip
_QWEN3 = {
    **_QWEN, "hidden_size": 64, "out_hidden_size": 48, "intermediate_size": 96,
    "num_position_embeddings": 16,
}  # fmt: skip
_GLM = {
    **_QWEN,
    "hidden_size": 64,
    "out_hidden_size": 48,
    "intermediate_size": 96,
    "image_size": 56,
}
_MROPE = {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 2, 2]}}

# model_type -> class, text_config, tower's config, other keys.
_MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "gemma3": ("Gemma3ForConditionalGeneration", {"head_dim": 12},
               {**_VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
               {"mm_tokens_per_image": 4}),
    "gemma4": ("Gemma4ForConditionalGeneration",
               {"layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 0},
               {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                "num_key_value_heads": 4, "head_dim": 16, "intermediate_size": 96, "patch_size": 16,
                "position_embedding_size": 32}, {"audio_config": None}),
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", _MROPE,
                 {**_QWEN, "embed_dim": 64, "hidden_size": 48, "mlp_ratio": 2}, {}),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", _MROPE,
                   {**_QWEN, "hidden_size": 64, "out_hidden_size": 48, "intermediate_size": 96,
                    "fullatt_block_indexes": [1], "window_size": 56}, {}),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", {**_MROPE, "head_dim": 12},
                 {**_QWEN3, "deepstack_visual_indexes": [0]}, {}),
    "qwen3_5": ("Qwen3_5ForConditionalGeneration", {"head_dim": 12}, _QWEN3, {}),
    "glm4v": ("Glm4vForConditionalGeneration", {}, _GLM, {}),
    "glm_ocr": ("GlmOcrForConditionalGeneration", {"head_dim": 12}, _GLM, {}),
    "smolvlm": ("SmolVLMForConditionalGeneration", {"model_type": "llama"}, _VISION,
                {"scale_factor": 2}),
    "idefics3": ("Idefics3ForConditionalGeneration", {"model_type": "llama"}, _VISION,
                 {"scale_factor": 2}),
    "internvl": ("InternVLForConditionalGeneration", {"model_type": "qwen2"},
                 {**_VISION, "image_size": [56, 56], "patch_size": [14, 14],
                  "architectures": ["InternVisionModel"]}, {"downsample_ratio": 0.5}),
    "llama4": ("Llama4ForConditionalGeneration",
               {"head_dim": 12, "intermediate_size_mlp": 80, "num_local_experts": 2},
               {**_VISION, "vision_output_dim": 96, "projector_input_dim": 96,
                "projector_output_dim": 96, "pixel_shuffle_ratio": 0.5, "intermediate_size": 256},
               {}),
    "lfm2_vl": ("Lfm2VlForConditionalGeneration",
                {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
                {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "intermediate_size": 96, "patch_size": 16, "num_patches": 16,
                 "model_type": "siglip2_vision_model", "vision_use_head": False},
                {"projector_hidden_size": 96}),
    "mistral3": ("Mistral3ForConditionalGeneration", {"model_type": "mistral", "head_dim": 12},
                 {**_VISION, "model_type": "pixtral", "head_dim": 16}, {"spatial_merge_size": 2}),
    "qwen2_audio": ("Qwen2AudioForConditionalGeneration", {"model_type": "qwen2"},
                    {**_SOUND, "d_model": 64, "encoder_layers": 4, "encoder_attention_heads": 4,
                     "encoder_ffn_dim": 96}, {}),
    "voxtral": ("VoxtralForConditionalGeneration", {"model_type": "llama", "head_dim": 12},
                {**_SOUND, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "intermediate_size": 256}, {}),
}  # fmt: skip
# How transformers 5 writes names that published files, and the converter, have otherwise.
_NAMES = {
    "gemma3": ("vision_tower.", "vision_tower.vision_model."),
    "lfm2_vl": ("model.vision_tower.", "model.vision_tower.vision_model."),
    "internvl": ("", "model."),
}
_SIDE = {
    "preprocessor_config.json": {
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_seq_length": 4, "merge_size": 2,
        "size": {"longest_edge": 56, "shortest_edge": 28, "height": 56, "width": 56},
        "patch_size": 14, "feature_size": 16, "min_pixels": 1, "max_pixels": 10000,
    },
    "tokenizer_config.json": {"added_tokens_decoder": {"5": {"content": "[IMG_BREAK]"}}},
}  # fmt: skip


def _config(model: str) -> dict[str, Any]:
    architecture, text, tower, other = _MODELS[model]
    part = "audio_config" if "num_mel_bins" in tower else "vision_config"
    return {
        "architectures": [architecture], "model_type": model,
        "text_config": {**_TEXT, **text}, part: dict(tower), **other,
    }  # fmt: skip


def _measure(model: str, converter: Path, folder: Path) -> dict[str, Any]:
    import transformers
    from safetensors.torch import load_file, save_file
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = _config(model)
    given = json.loads(json.dumps({key: config[key] for key in config if key != "model_type"}))
    made = getattr(transformers, _MODELS[model][0])(CONFIG_MAPPING[model](**given))
    made.save_pretrained(folder)
    if model in _NAMES:
        old, new = _NAMES[model]
        weights = load_file(folder / "model.safetensors")
        renamed = {
            new + name.removeprefix(old) if name.startswith(old) else name: weight
            for name, weight in weights.items()
        }
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in _SIDE.items():
        (folder / name).write_text(json.dumps(content))
    out = folder / "mmproj.gguf"
    words = [str(folder), "--mmproj", "--outtype", "f16", "--outfile", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(converter / "gguf-py")}
    subprocess.run(
        [sys.executable, str(converter / "convert_hf_to_gguf.py"), *words],
        check=True, env=environment, capture_output=True,
    )  # fmt: skip
    import gguf

    types: dict[str, list[int]] = {}
    for tensor in gguf.GGUFReader(out).tensors:
        total = types.setdefault(tensor.tensor_type.name, [0, 0])
        total[0] += 1
        total[1] += int(tensor.n_bytes)
    written = json.loads((folder / "config.json").read_text())
    return {"config": written, "types": dict(sorted(types.items()))}


def main() -> None:
    """Convert every model and write the table."""
    import transformers

    converter = Path(sys.argv[1])
    sys.path.append(str(converter / "gguf-py"))
    models = {}
    for model in _MODELS:
        with tempfile.TemporaryDirectory() as folder:
            models[model] = _measure(model, converter, Path(folder))
        print(model, models[model]["types"])
    table = {
        "llama_cpp": "v0.5.0",
        "transformers": transformers.__version__,
        "date": datetime.date.today().isoformat(),
        "models": models,
    }
    TABLE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
