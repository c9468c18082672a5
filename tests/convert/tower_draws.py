"""Random multimodal configs: small dimensions for every key of a tower's class that may matter.

A draw has the multimodal class's own defaults, with the sizes and flags of its nested configs drawn,
around a small language model. Sizes that must agree (heads and widths, images and patches) are drawn
together; what only one class has stands in ``_OWN``.
"""

import random
from typing import Any

from kvcalc.convert.model_types import FLAT, REMOTE_PARTS, TEXT_CONFIGS
from kvcalc.convert.towers import READERS
from kvcalc.convert.towers.whole import tower_defaults
from tests.convert.measured import drawn

Draw = dict[str, Any]

# Types of the sweep: those whose class builds without packages beside transformers.
TYPES = tuple(sorted(READERS.keys() - REMOTE_PARTS.keys()))


def draw_whole(model_type: str, seed: int) -> Draw:
    """One config of a multimodal type. The head is tied as its class does, tied, not tied."""
    rng = random.Random(f"towers {model_type} {seed}")
    config: Draw = {"model_type": model_type}
    if model_type in FLAT:
        config |= drawn(model_type, seed)
    else:
        key, text_type, _ = TEXT_CONFIGS[model_type]
        config[key] = drawn(text_type, seed)
    if (tied := (None, True, False)[seed % 3]) is not None:
        config["tie_word_embeddings"] = tied
    table = tower_defaults()
    for part, own in table["parts"][model_type].items():
        own = own.rstrip("!")
        entry = table["classes"][own]
        config[part] = {"model_type": own, **_tower(entry["defaults"], rng)}
    config |= _top(model_type, rng)
    return _OWN.get(model_type, _same)(config, rng)


def _tower(defaults: Draw, rng: random.Random) -> Draw:
    """Values for the fields of one nested class."""
    heads = rng.choice([2, 4])
    width = heads * rng.choice([16, 32, 48])
    patch, side = rng.choice([2, 4, 7]), rng.randint(2, 4)
    layers = rng.randint(2, 5)
    drawn_fields = {
        "hidden_size": width, "embed_dim": width, "d_model": width,
        "num_attention_heads": heads, "num_heads": heads, "encoder_attention_heads": heads,
        "attention_heads": heads, "num_key_value_heads": heads,
        "num_hidden_layers": layers, "depth": layers, "encoder_layers": layers,
        "intermediate_size": 2 * rng.randint(10, 40), "encoder_ffn_dim": 2 * rng.randint(10, 40),
        "patch_size": patch, "image_size": patch * side, "num_channels": rng.randint(1, 4),
        "in_channels": rng.randint(1, 4), "spatial_merge_size": rng.randint(1, 3),
        "temporal_patch_size": rng.randint(1, 3), "num_patches": side**2,
        "num_position_embeddings": side**2, "out_hidden_size": 8 * rng.randint(2, 9),
        "output_dim": 8 * rng.randint(2, 9), "downsample_hidden_size": rng.randint(3, 9),
        "num_mel_bins": rng.randint(8, 40), "max_source_positions": rng.randint(10, 30),
        "deepstack_visual_indexes": rng.sample(range(layers), rng.randint(1, 2)),
        "attention_bias": rng.random() < 0.5, "use_qk_norm": rng.random() < 0.5,
        "qkv_bias": rng.random() < 0.5, "mlp_bias": rng.random() < 0.5,
        "use_mean_pooling": rng.random() < 0.5, "use_absolute_position_embeddings": True,
        "vision_use_head": rng.random() < 0.5, "pos_emb_height": side, "pos_emb_width": side + 1,
        "mlp_ratio": rng.choice([2, 3]), "projector_input_dim": 8 * rng.randint(2, 9),
        "projector_output_dim": 8 * rng.randint(2, 9), "vision_output_dim": 8 * rng.randint(2, 9),
        "patch_temporal": rng.randint(1, 3), "max_position_embeddings": rng.randint(10, 30),
        "num_global_layers": rng.randint(1, 3), "max_num_tiles": rng.randint(1, 4),
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]][: rng.randint(1, 3)],
        "mlp_dim": 2 * rng.randint(10, 40), "window_size": rng.randint(2, 5),
        "global_attn_indexes": rng.sample(range(layers), rng.randint(1, 2)),
        "output_channels": 4 * rng.randint(2, 6), "use_abs_pos": True, "use_rel_pos": True,
        "num_layers": layers, "hidden_dim": width, "dim_head": width // heads,
        "input_dim": rng.randint(8, 40), "max_pos_emb": rng.randint(200, 300),
        "feedforward_mult": rng.randint(1, 4), "conv_kernel_size": rng.choice([3, 5]),
        "conv_expansion_factor": rng.randint(1, 3), "vocab_size": rng.randint(40, 60),
        "cross_attention_frequency": rng.randint(1, 3), "encoder_hidden_size": 8 * rng.randint(2, 9),
        "resampler_n_latents": rng.randint(2, 9), "resampler_depth": rng.randint(1, 3),
        "resampler_n_heads": 4, "resampler_head_dim": 8 * rng.randint(1, 3),
        "position_embedding_size": rng.randint(9, 30), "head_dim": width // heads,
        "output_proj_dims": 8 * rng.randint(2, 9), "subsampling_conv_channels": [8, width // 32],
        "num_registers": rng.randint(0, 4), "num_cls_tokens": rng.randint(1, 3),
        "max_img_size": patch * rng.randint(3, 5), "video_temporal_patch_size": rng.randint(1, 3),
        "window_kernel_size": [rng.randint(1, 3), 2], "hidden_stride": rng.randint(1, 2),
        "num_visual_indicator_tokens": rng.randint(2, 5), "use_fine_route": rng.random() < 0.5,
        "merge_kernel_size": [rng.randint(1, 3), 2], "projection_dim": 8 * rng.randint(2, 9),
    }  # fmt: skip
    drawn_fields |= _further_fields(width, f"{heads} {width} {layers}")
    found = {name: value for name, value in drawn_fields.items() if name in defaults}
    if isinstance(defaults.get("mlp_ratio"), float):
        found["mlp_ratio"] = float(found["mlp_ratio"])
    for name in ("image_size", "patch_size"):
        if isinstance(defaults.get(name), list):
            found[name] = [found[name]] * 2
    return found


def _further_fields(width: int, seed: str) -> Draw:
    """Fields of later classes, each drawn by itself: what others draw stays as it is."""

    def of(name: str) -> random.Random:
        return random.Random(f"{seed} {name}")

    def between(least: int, most: int, *names: str, times: int = 1) -> Draw:
        return {name: times * of(name).randint(least, most) for name in names}

    return {
        **between(2, 9, "mm_embed_dim", "audio_embed_dim", times=8),
        **between(9, 30, "mm_posemb_size"),
        **between(8, 40, "input_feat_size", "input_size"),
        **between(1, 3, "pooling_kernel_size", "conf_num_hidden_layers", "num_blocks"),
        **between(3, 9, "bias_max_distance", "nemo_conv_channels"),
        "conf_num_attention_heads": 2,
        "conf_conv_kernel_size": of("conf_conv_kernel_size").choice([3, 5]),
        "sscp_conv_channel_size": of("sscp_conv_channel_size").sample(range(3, 9), 2),
        **between(2, 4, "max_image_size", times=28),
        **between(2, 9, "text_hidden_size", times=8),
        "ext_pw_out_channel": width,
        "depthwise_separable_out_channel": width,
        "kernel_size": of("kernel_size").choice([1, 3]),
        "time_reduction": of("time_reduction").choice([2, 4, 8]),
        "bias_symmetric": of("bias_symmetric").random() < 0.5,
    }


def _top(model_type: str, rng: random.Random) -> Draw:
    """Values for the multimodal class's own fields."""
    from kvcalc.convert.config import class_defaults

    values = {
        "multimodal_projector_bias": rng.random() < 0.5, "projector_bias": rng.random() < 0.5,
        "projector_use_layernorm": rng.random() < 0.5, "scale_factor": rng.randint(1, 3),
        "spatial_merge_size": rng.randint(1, 3), "downsample_factor": rng.randint(1, 3),
        "downsample_ratio": rng.choice([0.5, 0.25]), "projector_hidden_size": 8 * rng.randint(2, 9),
        "alignment_intermediate_size": 8 * rng.randint(2, 9), "audio_merge_size": rng.randint(1, 4),
        "vision_feature_layer": rng.choice([-1, [-2, -1]]),
        "vision_feature_layers": rng.choice([[-2, -1], [-1]]),
        "patch_size": rng.choice([2, 4]), "num_channels": rng.randint(1, 4),
        "num_query_tokens": rng.randint(2, 9), "window_size": 15, "downsample_rate": 5,
        "merger_times": rng.randint(1, 3),
    }  # fmt: skip
    known = class_defaults().get(model_type, {}).get("defaults", {})
    return {name: value for name, value in values.items() if name in known}


def _same(config: Draw, rng: random.Random) -> Draw:
    return config


def _clip_default(config: Draw, rng: random.Random) -> Draw:
    """Another tower than the class's default, as files have them."""
    own = rng.choice(["clip_vision_model", "siglip_vision_model", "siglip2_vision_model"])
    entry = tower_defaults()["classes"][own]
    tower = {"model_type": own, **_tower(entry["defaults"], rng)}
    if own != "clip_vision_model":
        tower["vision_use_head"] = rng.random() < 0.5
    return config | {"vision_config": tower}


def _projection(config: Draw, rng: random.Random) -> Draw:
    """PaliGemma's projector is as wide as the vision config says."""
    width = 8 * rng.randint(2, 9)
    config["vision_config"] |= {"projection_dim": width, "vision_use_head": False}
    return config | {"projection_dim": width}


def _kimi(config: Draw, rng: random.Random) -> Draw:
    return config | {"projection_hidden_size": config["vision_config"]["hidden_size"]}


def _minimax_m3(config: Draw, rng: random.Random) -> Draw:
    text = config["text_config"]["hidden_size"]
    config["projector_hidden_size"] = text
    return config | {
        "merged_hidden_size": text * config["vision_config"]["spatial_merge_size"] ** 2
    }


def _llama4(config: Draw, rng: random.Random) -> Draw:
    """The adapter's second matrix is square."""
    tower = config["vision_config"]
    tower["projector_input_dim"] = tower["projector_output_dim"]
    return config


def _idefics2(config: Draw, rng: random.Random) -> Draw:
    config["perceiver_config"]["num_key_value_heads"] = rng.choice([1, 2, 4])
    return config


def _mllama(config: Draw, rng: random.Random) -> Draw:
    """The class asks four tiles of its own list of aspect ratios."""
    config["vision_config"]["supported_aspect_ratios"] = [[1, 1], [1, 2], [2, 1]]
    return config


def _granite_docling(config: Draw, rng: random.Random) -> Draw:
    tower = config["vision_config"]
    tower |= {"out_hidden_size": config["text_config"]["hidden_size"], "use_fine_route": True,
              "scale_factor": 2}  # fmt: skip
    return config | {"density_router_hidden_size": rng.choice([None, 12])}


def _nemotron(config: Draw, rng: random.Random) -> Draw:
    frames = config["vision_config"]["video_temporal_patch_size"]
    patch = config["vision_config"]["patch_size"]
    config["vision_config"] |= {"patch_dim": 3 * patch**2, "num_channels": 3,
                                "video_patch_dim": 3 * patch**2 * frames}  # fmt: skip
    return config | {"video_temporal_patch_size": frames,
                     "vision_hidden_size": config["vision_config"]["hidden_size"]}  # fmt: skip


def _ovis2(config: Draw, rng: random.Random) -> Draw:
    return _hidden_at_the_top(config, rng) | {"vocab_size": config["text_config"]["vocab_size"]}


def _lfm3_vl(config: Draw, rng: random.Random) -> Draw:
    tower = config["vision_config"]
    kinds = [rng.choice(["conv", "full_attention"]) for _ in range(tower["num_hidden_layers"])]
    tower |= {"layer_types": kinds, "num_key_value_heads": rng.choice([1, 2])}
    return config


def _florence2(config: Draw, rng: random.Random) -> Draw:
    """Lists of a value a stage. A head that is not tied has several copies, and is refused."""
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    heads, stages = 2, rng.randint(2, 3)
    width = 8 * heads
    config["vision_config"] = {
        "model_type": "florence_vision", "in_channels": rng.randint(1, 4),
        "depths": [rng.randint(1, 3) for _ in range(stages)],
        "patch_size": [rng.choice([3, 5, 7]) for _ in range(stages)],
        "patch_stride": [2] * stages, "patch_padding": [1] * stages,
        "patch_prenorm": [rng.random() < 0.5 for _ in range(stages)],
        "embed_dim": [width * 2**stage for stage in range(stages)], "num_heads": [heads] * stages,
        "num_groups": [heads] * stages, "qkv_bias": rng.random() < 0.5, "mlp_ratio": 2.0,
        "projection_dim": 8 * rng.randint(2, 9), "max_position_embeddings": rng.randint(5, 9),
    }  # fmt: skip
    return config


def _janus(config: Draw, rng: random.Random) -> Draw:
    """Channels by 32, which the norms divide."""
    wide = 8 * rng.randint(2, 9)
    config["vision_config"] |= {
        "use_qk_norm": False, "mlp_ratio": 2.0, "depth": rng.randint(1, 3), "projection_dim": wide
    }  # fmt: skip
    config["vq_config"] = {
        "model_type": "janus_vqgan", "base_channels": 32, "num_res_blocks": rng.randint(1, 3),
        "channel_multiplier": rng.choice([[1, 2], [1, 1, 3], [1, 2, 2, 4]]), "embed_dim": 6,
        "num_embeddings": rng.randint(20, 40), "latent_channels": rng.randint(3, 9),
        "double_latent": rng.random() < 0.5, "in_channels": 3, "out_channels": 3,
        "projection_dim": wide, "num_hidden_layers": rng.randint(1, 3),
        "image_token_embed_dim": 8 * rng.randint(2, 9), "num_patches": 4,
    }  # fmt: skip
    return config


def _vibevoice_asr(config: Draw, rng: random.Random) -> Draw:
    """Two tokenizers, of a value a stage."""
    for name in ("acoustic", "semantic"):
        ratios = [rng.randint(2, 4) for _ in range(rng.randint(1, 3))]
        config[f"{name}_tokenizer_encoder_config"] = {
            "model_type": "vibevoice_acoustic_tokenizer_encoder", "channels": 1,
            "hidden_size": rng.randint(4, 9), "kernel_size": rng.choice([3, 5, 7]),
            "num_filters": rng.randint(2, 5), "downsampling_ratios": ratios,
            "depths": [rng.randint(1, 3) for _ in range(len(ratios) + 1)],
            "ffn_expansion": rng.randint(1, 3),
        }  # fmt: skip
    return config


def _emu3(config: Draw, rng: random.Random) -> Draw:
    """Channels by 32, which the norms divide; an attention as wide as hidden_size at any level."""
    times = rng.choice([[1, 2], [1, 1, 3], [1, 2, 2, 4]])
    config["vq_config"] = {
        "model_type": "emu3_vqgan", "base_channels": 32, "num_res_blocks": rng.randint(1, 3),
        "channel_multiplier": times, "embed_dim": 6, "codebook_size": rng.randint(20, 40),
        "latent_channels": rng.randint(3, 9), "double_latent": rng.random() < 0.5, "in_channels": 3,
        "out_channels": rng.randint(3, 4), "temporal_downsample_factor": rng.choice([1, 2, 4]),
        "attn_resolutions": rng.sample(range(len(times)), rng.randint(1, 2)),
        "hidden_size": 32 * times[-1], "num_attention_heads": 1,
    }  # fmt: skip
    return config | {"vocabulary_map": {"<image>": 3}}


def _granite4_vision(config: Draw, rng: random.Random) -> Draw:
    """A Q-Former as wide as the tower, of heads of 64, for each layer that is read early and four more."""
    heads = rng.choice([1, 2])
    config["vision_config"] |= {"hidden_size": 64 * heads, "num_attention_heads": heads}
    config["qformer_config"] |= {"use_qformer_text_input": False, "vocab_size": 40}
    pairs = [[-2, layer] for layer in range(rng.randint(1, 4))]
    return config | {"downsample_rate": rng.choice(["1/2", "4/8"]), "deepstack_layer_map": pairs}


def _perception_lm(config: Draw, rng: random.Random) -> Draw:
    """Arguments of timm's Perception Encoder as files have them. A gigantic one has no class token."""
    name = rng.choice(["vit_pe_core_large_patch14_336", "vit_pe_core_gigantic_patch14_448"])
    config["vision_config"] = {
        "model_type": "timm_wrapper", "architecture": name, "do_pooling": True, "num_classes": 2,
        "label_names": ["a", "b"], "model_args": {
            "embed_dim": 64 * rng.randint(1, 3), "img_size": [14 * rng.randint(2, 4)] * 2,
            "depth": rng.randint(2, 4), "global_pool": "", "ref_feat_shape": [32, 32],
            "use_post_transformer_norm": rng.random() < 0.5,
            "init_values": rng.choice([None, 0.1]),
        },
    }  # fmt: skip
    return config


def _fast_vlm(config: Draw, rng: random.Random) -> Draw:
    """The one tower that files name, folded for inference."""
    config["vision_config"] = {
        "model_type": "timm_wrapper", "architecture": "fastvit_mci3", "do_pooling": True,
        "global_pool": "avg", "hidden_size": 3072, "num_classes": 2, "label_names": ["a", "b"],
        "model_args": {"inference_mode": True},
    }  # fmt: skip
    return config | {"vision_feature_layer": -1}


def _molmo2(config: Draw, rng: random.Random) -> Draw:
    """A tower under either of its names; layers by place, from the end too."""
    tower, adapter = config["vision_config"], config["adapter_config"]
    heads, width = tower["num_attention_heads"], tower["hidden_size"]
    side = tower["patch_size"] * rng.randint(2, 4)
    tower |= {
        "image_size": [side, side],
        "head_dim": width // heads,
        "num_position_embeddings": None,
    }
    adapter |= {
        "hidden_size": width, "num_attention_heads": heads, "head_dim": width // heads,
        "num_key_value_heads": heads, "text_hidden_size": config["text_config"]["hidden_size"],
        "mlp_bias": rng.random() < 0.5, "vision_feature_layer": rng.choice([[-1], [0, -2], [1, 0]]),
    }  # fmt: skip
    config.pop("vit_config", None)
    if rng.random() < 0.5:
        old = {key: value for key, value in tower.items() if key != "model_type"}
        old |= {"image_default_input_size": old.pop("image_size"),
                "image_patch_size": old.pop("patch_size"), "image_num_pos": rng.randint(4, 20)}  # fmt: skip
        old.pop("num_position_embeddings")
        adapter["vit_layers"] = adapter.pop("vision_feature_layer")
        del config["vision_config"]
        config["vit_config"] = old
    config["text_config"]["additional_vocab_size"] = rng.choice([0, 9])
    return config


def _gemma3n(config: Draw, rng: random.Random) -> Draw:
    """The one vision tower of timm's that files name, as wide as it is."""
    config["vision_config"]["hidden_size"] = 2048
    return config


def _hidden_at_the_top(config: Draw, rng: random.Random) -> Draw:
    return config | {"hidden_size": config["text_config"]["hidden_size"]}


_OWN: dict[str, Any] = {
    "llava": _clip_default, "llava_next": _clip_default, "llava_onevision": _clip_default,
    "paligemma": _projection, "kimi_k25": _kimi, "minimax_m3_vl": _minimax_m3,
    "llama4": _llama4, "idefics2": _idefics2, "mllama": _mllama, "granite_docling": _granite_docling,
    "florence2": _florence2, "janus": _janus, "vibevoice_asr": _vibevoice_asr, "gemma3n": _gemma3n,
    "perception_lm": _perception_lm, "fast_vlm": _fast_vlm, "emu3": _emu3, "molmo2": _molmo2,
    "granite4_vision": _granite4_vision, "nemotron_h_omni": _nemotron,
    "ovis2": _ovis2, "lfm3_vl": _lfm3_vl, "voxtral": _hidden_at_the_top,
}  # fmt: skip
