"""Processors' settings as they are published beside weights, where they differ from the class's own.

A shipped spec has no ``preprocessor_config.json`` beside it. Qwen2-VL and Qwen2.5-VL are published with
the bounds of their architecture, which make up to twelve times the tokens of the class's: ``min_pixels``
3,136 and ``max_pixels`` 12,845,056 (16,384 tokens), quoted for Qwen2.5-VL-7B-Instruct in mlx-vlm's issue
1175; its class has 1,003,520 (Qwen2VLImageProcessor, transformers 5.23.0).
"""

from collections.abc import Mapping, Sequence

_QWEN2 = {"min_pixels": 3136, "max_pixels": 12845056}
# The beginning of a hub id -> what the images' processor is set to.
_IMAGES: Mapping[str, Mapping[str, int]] = {"Qwen/Qwen2-VL-": _QWEN2, "Qwen/Qwen2.5-VL-": _QWEN2}


def image_settings(hub_ids: Sequence[str]) -> Mapping[str, int] | None:
    """What the images' processor of a published model is set to; None where the class's own holds."""
    found = [
        one for hub_id in hub_ids for start, one in _IMAGES.items() if hub_id.startswith(start)
    ]
    return found[0] if found else None
